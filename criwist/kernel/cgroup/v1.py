"""Limits in the files of cgroup v1 (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

from criwist.interfaces.kernel import Limits
from criwist.kernel.cgroup.limits import read_hugepages, read_value
from criwist.kernel.cgroup.paths import Cgroup

#: Without a limit the kernel shows the largest multiple of the page size, or huge page size, below 2**63; no machine
#: has as much as half of that.
_UNLIMITED = 1 << 62

HUGEPAGE_FILES = ("hugetlb.{size}.limit_in_bytes", "hugetlb.{size}.rsvd.limit_in_bytes")


def read_limits(cgroup: Cgroup) -> Limits:
    """Return the present limits."""
    cpu, cpuset, memory = (cgroup.directory(name) for name in ("cpu", "cpuset", "memory"))
    pids = read_value(cgroup.directory("pids"), "pids.max")
    hugepages = read_hugepages(cgroup.directory("hugetlb"), ".limit_in_bytes")
    quota = _number(read_value(cpu, "cpu.cfs_quota_us"))
    return Limits(
        cpu_period=_number(read_value(cpu, "cpu.cfs_period_us")),
        cpu_quota=quota if quota is not None and quota > 0 else None,
        cpu_shares=_number(read_value(cpu, "cpu.shares")),
        cpuset_cpus=read_value(cpuset, "cpuset.cpus"),
        cpuset_mems=read_value(cpuset, "cpuset.mems"),
        memory=_bytes(read_value(memory, "memory.limit_in_bytes")),
        memory_and_swap=_bytes(read_value(memory, "memory.memsw.limit_in_bytes")),
        pids=_number(pids) if pids != "max" else None,
        hugepages={size: limit for size, text in hugepages.items() if (limit := _bytes(text)) is not None},
    )


def _number(text: str) -> int | None:
    return int(text) if text else None


def _bytes(text: str) -> int | None:
    return int(text) if text and int(text) < _UNLIMITED else None
