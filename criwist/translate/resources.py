"""Linux resources: what Docker's API has a field for, and what is written to the cgroup after start.

Docker knows cpu period, quota and shares, cpusets, memory, memory with swap, the oom score and a limit of processes.
Hugepage limits and the keys of ``unified`` it does not: they become :class:`CgroupWrite` values, carried out once
the container runs and again after each update.  Two keys of ``unified`` need not wait for that, since Docker has
them under other names: ``pids.max``, and ``memory.swap.max`` of a container with a memory limit.

In the CRI 0 and ``""`` mean "not specified" throughout.  A container with a memory limit and nothing said of swap
gets no swap: Docker would give it as much again as its memory.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces import EngineFacts

#: The pause program's: killed last of all but the node's own daemons.
SANDBOX_OOM_SCORE = -998
#: The least CPU weight: the pause program does not compete with anybody.
SANDBOX_CPU_SHARES = 2

#: What the kernel accepts; beyond, cgroup v1 clamps in silence and v2's conversion overflows.
_CPU_SHARES = (2, 262144)
#: Microseconds.
_CPU_PERIOD = (1000, 1000000)
_LEAST_CPU_QUOTA = 1000
_OOM_SCORE = (-1000, 1000)
_PAGE_SIZE = re.compile(r"[1-9][0-9]*[KMG]B")
_CGROUP_KEY = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_]+)+")
_PIDS_MAX = "pids.max"
_SWAP_MAX = "memory.swap.max"


@frozen
class CgroupWrite:
    """One line to write to one file of a running container's cgroup."""

    #: Of which hierarchy, on cgroup v1; on v2 all are in one.
    controller: str
    file: str
    value: str
    #: The CRI field that asks, for error messages.
    field: str
    #: Whether a kernel without the file is an error; it is not for a hugepage limit of 0, which kubelet sends for
    #: every page size.
    required: bool = True


def clamped_oom_score(wanted: int, floor: int) -> int:
    """*wanted*, or *floor* if the engine may not go as low."""
    return max(wanted, floor)


def resource_limits(resources: pb.LinuxContainerResources, field: str, *, engine: EngineFacts) -> dict[str, Any]:
    """The members of ``HostConfig`` that limit cpu, memory and processes; what is not specified is left out.

    The same members make the body of ``POST /containers/{id}/update``.

    :param field: path of *resources* in the request.
    :raises InvalidArgument: a value that no kernel takes.
    :raises FailedPrecondition: a swap limit, and the engine's kernel does not account swap.
    """
    body = _cpu(resources, field) | _memory(resources, field, engine)
    if _PIDS_MAX in resources.unified:
        limit = _limit(resources.unified[_PIDS_MAX], f"{field}.unified[{_PIDS_MAX}]")
        body["PidsLimit"] = -1 if limit is None else limit
    return body


def oom_score(resources: pb.LinuxContainerResources, field: str, *, floor: int) -> int:
    """The container's ``OomScoreAdj``, clamped to what the engine may set.

    :raises InvalidArgument: the kernel has no such score.
    """
    low, high = _OOM_SCORE
    if not low <= resources.oom_score_adj <= high:
        raise InvalidArgument(f"{field}.oom_score_adj", f"must be from {low} to {high}, not {resources.oom_score_adj}")
    return clamped_oom_score(resources.oom_score_adj, floor)


def update_body(resources: pb.LinuxContainerResources, field: str = "linux", *, engine: EngineFacts) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/update``; empty: there is nothing to tell the engine.

    The oom score is not in it: Docker cannot change one, the kernel can (see :func:`oom_score`).

    :raises InvalidArgument: as :func:`resource_limits`; nothing has been changed then.
    """
    cgroup_writes(resources, field, engine=engine)
    return resource_limits(resources, field, engine=engine)


def cgroup_writes(
    resources: pb.LinuxContainerResources, field: str = "linux", *, engine: EngineFacts
) -> tuple[CgroupWrite, ...]:
    """What is to be written to the cgroup of the container once it runs, in this order.

    :param field: path of *resources* in the request.
    :raises InvalidArgument: no such page size, or a key that is not a file of a controller.
    :raises FailedPrecondition: keys of cgroup v2 on a host that has v1.
    """
    return _hugepages(resources, field, engine) + _unified(resources, field, engine)


def cgroup_parent(parent: str, *, driver: str) -> str:
    """``CgroupParent``: the path as kubelet gives it, or with systemd's driver its last component, the slice."""
    return parent.rstrip("/").rpartition("/")[2] if driver == "systemd" else parent


def _cpu(resources: pb.LinuxContainerResources, field: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if resources.cpu_period:
        low, high = _CPU_PERIOD
        if not low <= resources.cpu_period <= high:
            raise InvalidArgument(f"{field}.cpu_period", f"must be from {low} to {high}, not {resources.cpu_period}")
        body["CpuPeriod"] = resources.cpu_period
    if resources.cpu_quota:
        if 0 < resources.cpu_quota < _LEAST_CPU_QUOTA:
            raise InvalidArgument(f"{field}.cpu_quota", f"must be {_LEAST_CPU_QUOTA} at least, or -1 for none")
        body["CpuQuota"] = max(resources.cpu_quota, -1)
    if resources.cpu_shares:
        if resources.cpu_shares < 0:
            raise InvalidArgument(f"{field}.cpu_shares", "must not be negative")
        low, high = _CPU_SHARES
        body["CpuShares"] = min(max(resources.cpu_shares, low), high)
    for name, key in (("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems")):
        if value := getattr(resources, name):
            body[key] = value
    return body


def _memory(resources: pb.LinuxContainerResources, field: str, engine: EngineFacts) -> dict[str, Any]:
    memory, swap = resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes
    swap_field = f"{field}.memory_swap_limit_in_bytes"
    if memory < 0:
        raise InvalidArgument(f"{field}.memory_limit_in_bytes", "must not be negative")
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
    if not swap and _SWAP_MAX in resources.unified:
        alone = _limit(resources.unified[_SWAP_MAX], f"{field}.unified[{_SWAP_MAX}]")
        swap = -1 if alone is None else memory + alone
    return {"Memory": memory, "MemorySwap": swap or memory}


def _hugepages(resources: pb.LinuxContainerResources, field: str, engine: EngineFacts) -> tuple[CgroupWrite, ...]:
    suffix = "limit_in_bytes" if engine.cgroup_version == 1 else "max"
    writes = []
    for index, limit in enumerate(resources.hugepage_limits):
        path = f"{field}.hugepage_limits[{index}]"
        if not _PAGE_SIZE.fullmatch(limit.page_size):
            raise InvalidArgument(f"{path}.page_size", f"must be like 2MB or 1GB, not {limit.page_size!r}")
        file = f"hugetlb.{limit.page_size}.{suffix}"
        writes.append(CgroupWrite("hugetlb", file, str(limit.limit), path, required=limit.limit > 0))
    return tuple(writes)


def _unified(resources: pb.LinuxContainerResources, field: str, engine: EngineFacts) -> tuple[CgroupWrite, ...]:
    writes = []
    for key in sorted(resources.unified):
        path = f"{field}.unified[{key}]"
        if not _CGROUP_KEY.fullmatch(key) or key.startswith("cgroup."):
            raise InvalidArgument(path, "is not a file of a cgroup controller")
        if key == _PIDS_MAX:
            continue
        if engine.cgroup_version == 1:
            raise FailedPrecondition(f"{path}: the engine's host has cgroup v1, where there are no unified keys")
        controller = key.partition(".")[0]
        lines = resources.unified[key].splitlines() or [""]
        writes += [CgroupWrite(controller, key, line, path) for line in lines]
    return tuple(writes)


def _limit(text: str, field: str) -> int | None:
    """The value of a ``*.max`` file; None is ``max``."""
    text = text.strip()
    if text == "max":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**63:
        raise InvalidArgument(field, f"must be a number or max, not {text!r}")
    return int(text)
