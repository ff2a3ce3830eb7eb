"""A container's state and exit: the engine's ``State`` in the CRI's terms.

The reasons are those of dockershim and cri-dockerd, which kubelets and people know:

===========================  ==========  ======================================
engine's state               CRI state   reason
===========================  ==========  ======================================
running, paused, restarting  RUNNING
has finished                 EXITED      OOMKilled, Completed (0), Error
never started, exit code     EXITED      ContainerCannotRun
never started                CREATED
===========================  ==========  ======================================

"removing" and "dead" do not show how a container ended, so they are read like "exited" or "created".  A start that the
OCI runtime refuses leaves a container "created" with exit code 127 or 128 and an error text; without the third row a
kubelet would wait for it for ever.

An engine may miss that the kernel killed a process for want of memory: on cgroup v2 it reads a counter in the
container's cgroup, which may be gone by then.  So for a container that SIGKILL ended the kernel's own word counts too.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import EngineFailure
from criwist.interfaces.engine import JSONObject
from criwist.translate.engine_json import flag, number, text
from criwist.translate.times import nanoseconds

#: 128 + SIGKILL.
_KILLED = 137
_UNDER_WAY = frozenset({"running", "paused", "restarting"})
_AT_REST = frozenset({"created", "exited", "dead", "removing"})
#: ContainerStatus.exit_code is an int32.
_GREATEST_CODE = 2**31 - 1


@frozen
class Outcome:
    """Times are nanoseconds since the epoch, 0 for an event that has not happened."""

    state: pb.ContainerState
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""


def never_killed(container_id: str) -> bool:
    """Return False: the kernel has no word about any container."""
    return False


def outcome(inspected: JSONObject, oom_killed: Callable[[str], bool] = never_killed) -> Outcome:
    """Return the outcome, so far, of an inspected container.

    :param oom_killed: returns whether the kernel killed a process of the container with this id for want of memory;
        called if the exit code is that of SIGKILL.
    :raises EngineFailure: the engine's document has a time that is not one.
    """
    created_at = _time(inspected, "Created")
    started_at, finished_at = _time(inspected, "State", "StartedAt"), _time(inspected, "State", "FinishedAt")
    status = text(inspected, "State", "Status")
    if status in _UNDER_WAY:
        return Outcome(pb.CONTAINER_RUNNING, created_at, started_at)
    if status not in _AT_REST:
        return Outcome(pb.CONTAINER_UNKNOWN, created_at, started_at, finished_at)
    exit_code = max(-_GREATEST_CODE, min(number(inspected, "State", "ExitCode"), _GREATEST_CODE))
    message = text(inspected, "State", "Error")
    if finished_at or status == "exited":
        killed = flag(inspected, "State", "OOMKilled") or (exit_code == _KILLED and oom_killed(text(inspected, "Id")))
        reason = _reason(exit_code, oom_killed=killed)
        # The engine records a start when the runtime has returned; a short process may have ended by then.
        finished_at = max(finished_at, started_at)
        return Outcome(pb.CONTAINER_EXITED, created_at, started_at, finished_at, exit_code, reason, message)
    if exit_code:
        return Outcome(
            pb.CONTAINER_EXITED, created_at, created_at, created_at, exit_code, "ContainerCannotRun", message
        )
    return Outcome(pb.CONTAINER_CREATED, created_at, message=message)


def _reason(exit_code: int, *, oom_killed: bool) -> str:
    if oom_killed:
        return "OOMKilled"
    return "Error" if exit_code else "Completed"


def _time(inspected: JSONObject, *path: str) -> int:
    try:
        return nanoseconds(text(inspected, *path))
    except ValueError as problem:
        identifier = text(inspected, "Id")
        raise EngineFailure(f"the engine's {'.'.join(path)} of container {identifier}: {problem}") from problem
