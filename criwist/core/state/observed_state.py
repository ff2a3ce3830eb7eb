"""The state of a container that the kernel reports: its user, and the limits in force.

The engine's document has what was requested.  ``ContainerStatus.user`` and ``resources`` are what is in force;
kubelet's in-place resize relies on that.  They are read when the container changes, not at each request.  A container
that has ended keeps its user.  An engine on another machine has its processes there: here the pid belongs to an
unrelated process, so nothing is reported.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, evolve, field, frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.kernel import IContainerProcesses, ProcessFacts
from criwist.translate.cgroup import recorded_writes
from criwist.translate.engine_json import flag, number, text, text_map


@frozen
class ObservedState:
    """A container's limits and user; None where the kernel does not report them."""

    resources: pb.LinuxContainerResources | None = None
    user: pb.LinuxContainerUser | None = None


#: Containers whose users are kept in memory: more than a node has, ended ones included.
_MAX_USERS = 4096


@define(eq=False)
class ObservedStateReader:
    """Reads the state of containers, and keeps their users in memory for when they have ended.

    :param read: :func:`read_observed_state`.
    """

    _read: Callable[[JSONObject], ObservedState]
    _users: OrderedDict[str, pb.LinuxContainerUser] = field(factory=OrderedDict, init=False)

    def __call__(self, inspected: JSONObject) -> ObservedState:
        """Return the state of an inspected container; with its last known user, if it does not run."""
        state, identifier = self._read(inspected), text(inspected, "Id")
        if state.user is not None:
            self._users[identifier] = state.user
            self._users.move_to_end(identifier)
            if len(self._users) > _MAX_USERS:
                self._users.popitem(last=False)
            return state
        return evolve(state, user=self._users.get(identifier))


def read_observed_state(processes: IContainerProcesses, inspected: JSONObject) -> ObservedState:
    """Read the state of the first process of an inspected container; an empty one unless it runs on this machine."""
    pid = number(inspected, "State", "Pid")
    if not flag(inspected, "State", "Running") or pid <= 0:
        return ObservedState()
    facts = processes.read(
        pid,
        text(inspected, "Id"),
        cpu_shares=number(inspected.get("HostConfig") or {}, "CpuShares"),
        unified_keys=recorded_writes(text_map(inspected, "Config", "Labels")).unified,
    )
    if facts is None:
        return ObservedState()
    return ObservedState(
        resources=_resources(facts),
        user=pb.LinuxContainerUser(uid=facts.uid, gid=facts.gid, supplemental_groups=facts.groups),
    )


def _resources(facts: ProcessFacts) -> pb.LinuxContainerResources:
    """Return the CRI's message, in which 0 is "no limit" as well as "not specified"."""
    limits = facts.limits
    return pb.LinuxContainerResources(
        cpu_period=limits.cpu_period or 0,
        cpu_quota=limits.cpu_quota or 0,
        cpu_shares=limits.cpu_shares or 0,
        memory_limit_in_bytes=limits.memory or 0,
        memory_swap_limit_in_bytes=limits.memory_and_swap or 0,
        oom_score_adj=facts.oom_score_adj,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        unified=facts.unified,
        hugepage_limits=[
            pb.HugepageLimit(page_size=size, limit=limit) for size, limit in sorted(limits.hugepages.items())
        ],
    )
