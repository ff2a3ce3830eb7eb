"""Linux resources in Docker's words: cpu, memory, swap, processes, the oom score, the cgroup's parent.

Limits that Docker has no field for are written to the cgroup once the container runs (``cgroup``).  Two keys of
``unified`` need not wait for that, since Docker has them under other names: ``pids.max``, and ``memory.swap.max`` of a
container with a memory limit.

In the CRI 0 and ``""`` mean "not specified" throughout.  A container with a memory limit and no swap limit gets no
swap: Docker would give it as much again as its memory.
"""

from __future__ import annotations

from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.translate.cgroup import PIDS_MAX, SWAP_MAX, cgroup_writes

#: The pause program's score: killed last of all but the node's own daemons.
SANDBOX_OOM_SCORE = -998
#: The least CPU weight: the pause program does not compete with any process.
SANDBOX_CPU_SHARES = 2

#: The values that the kernel accepts; beyond them cgroup v1 clamps in silence and v2's conversion overflows.
_CPU_SHARES = (2, 262144)
#: Microseconds.
_CPU_PERIOD = (1000, 1000000)
_LEAST_CPU_QUOTA = 1000
_OOM_SCORE = (-1000, 1000)


def clamped_oom_score(wanted: int, floor: int) -> int:
    """Return *wanted*, or *floor* if that is higher: the engine may not set a lower score."""
    return max(wanted, floor)


def resource_limits(resources: pb.LinuxContainerResources, path: str, *, engine: EngineFacts) -> dict[str, Any]:
    """Return the members of ``HostConfig`` that limit cpu, memory and processes, as far as they are specified.

    The same members make the body of ``POST /containers/{id}/update``.

    :param path: of *resources* in the request.
    :raises InvalidArgument: a value that no kernel takes.
    :raises FailedPrecondition: a swap limit, and the engine's kernel does not account swap.
    """
    body = _cpu(resources, path) | _memory(resources, path, engine)
    if PIDS_MAX in resources.unified:
        limit = _limit(resources.unified[PIDS_MAX], f"{path}.unified[{PIDS_MAX}]")
        body["PidsLimit"] = -1 if limit is None else limit
    return body


def oom_score(resources: pb.LinuxContainerResources, path: str, *, floor: int) -> int:
    """Return the container's ``OomScoreAdj``, clamped to the scores that the engine may set.

    :raises InvalidArgument: the kernel has no such score.
    """
    low, high = _OOM_SCORE
    if not low <= resources.oom_score_adj <= high:
        raise InvalidArgument(f"{path}.oom_score_adj", f"must be from {low} to {high}, not {resources.oom_score_adj}")
    return clamped_oom_score(resources.oom_score_adj, floor)


def update_body(resources: pb.LinuxContainerResources, path: str = "linux", *, engine: EngineFacts) -> dict[str, Any]:
    """Return the body of ``POST /containers/{id}/update``; empty: the engine has nothing to update.

    Two things are not in it: the oom score, since Docker cannot change one (the kernel can, and 0 is "not
    specified"), and limits that are written to the cgroup.  This function checks both, so that a wrong request is
    refused as a whole before any of it is in force.

    :raises InvalidArgument: as :func:`resource_limits`, :func:`oom_score` and ``cgroup.cgroup_writes``.
    :raises FailedPrecondition: as those; or the swap limit is to be lifted, which engines do not do in an update
        (they accept -1 and change nothing).  On cgroup v2 it is written to the cgroup.
    """
    body = resource_limits(resources, path, engine=engine)
    oom_score(resources, path, floor=_OOM_SCORE[0])
    cgroup_writes(resources, path, engine=engine)
    if resources.memory_swap_limit_in_bytes == -1 and engine.cgroup_version == 1:
        raise FailedPrecondition(
            f"{path}.memory_swap_limit_in_bytes: Docker Engine cannot lift the swap limit of a container that exists"
        )
    return body


def cgroup_parent(parent: str, *, driver: str) -> str:
    """``CgroupParent``: the path as kubelet gives it, or with systemd's driver its last component, the slice."""
    return parent.rstrip("/").rpartition("/")[2] if driver == "systemd" else parent


def _cpu(resources: pb.LinuxContainerResources, path: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if resources.cpu_period:
        low, high = _CPU_PERIOD
        if not low <= resources.cpu_period <= high:
            raise InvalidArgument(f"{path}.cpu_period", f"must be from {low} to {high}, not {resources.cpu_period}")
        body["CpuPeriod"] = resources.cpu_period
    if resources.cpu_quota:
        if 0 < resources.cpu_quota < _LEAST_CPU_QUOTA:
            raise InvalidArgument(f"{path}.cpu_quota", f"must be {_LEAST_CPU_QUOTA} at least, or -1 for none")
        body["CpuQuota"] = max(resources.cpu_quota, -1)
    if resources.cpu_shares:
        if resources.cpu_shares < 0:
            raise InvalidArgument(f"{path}.cpu_shares", "must not be negative")
        low, high = _CPU_SHARES
        body["CpuShares"] = min(max(resources.cpu_shares, low), high)
    for name, key in (("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems")):
        if value := getattr(resources, name):
            body[key] = value
    return body


def _memory(resources: pb.LinuxContainerResources, path: str, engine: EngineFacts) -> dict[str, Any]:
    memory, swap = resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes
    swap_field = f"{path}.memory_swap_limit_in_bytes"
    if memory < 0:
        raise InvalidArgument(f"{path}.memory_limit_in_bytes", "must not be negative")
    if swap and not memory:
        raise InvalidArgument(swap_field, "must not be given without memory_limit_in_bytes")
    if swap < -1 or 0 < swap < memory:
        raise InvalidArgument(swap_field, "must be memory_limit_in_bytes at least, since it counts both; or -1")
    if swap and not engine.swap_limit:
        raise FailedPrecondition(f"{swap_field}: the engine's kernel does not account swap")
    if not memory:
        return {}
    if not engine.swap_limit:
        return {"Memory": memory}
    if not swap and SWAP_MAX in resources.unified:
        alone = _limit(resources.unified[SWAP_MAX], f"{path}.unified[{SWAP_MAX}]")
        swap = -1 if alone is None else memory + alone
    return {"Memory": memory, "MemorySwap": swap or memory}


def _limit(text: str, path: str) -> int | None:
    """The value of a ``*.max`` file; None is ``max``."""
    text = text.strip()
    if text == "max":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**63:
        raise InvalidArgument(path, f"must be a number or max, not {text!r}")
    return int(text)
