"""One reading of a cgroup's figures for metrics, beside those of :mod:`criwist.kernel.cgroup.usage`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from criwist.interfaces.kernel_metrics import CgroupMetrics
from criwist.kernel.cgroup.counters import counter, counters, read_bytes
from criwist.kernel.cgroup.io_stats import read_io
from criwist.kernel.cgroup.paths import Cgroup
from criwist.kernel.cgroup.v2 import shares_of_weight

#: ``cpuacct.stat`` counts in these, whatever the kernel's own tick is.
_USER_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
#: Without a limit version 1 shows the largest multiple of the page size below 2**63; no machine has half of that.
_UNLIMITED = 1 << 62
#: Parts of kernel memory in ``memory.stat``; their sum is ``kernel``, which Linux 5.18 added.
_KERNEL_PARTS = (b"kernel_stack", b"pagetables", b"percpu", b"vmalloc", b"slab")
_MEMORY_V1 = (b"total_cache", b"total_mapped_file", b"pgfault", b"pgmajfault")
_MEMORY_V2 = (b"file", b"file_mapped", b"pgfault", b"pgmajfault", b"kernel", *_KERNEL_PARTS)
#: A page size: ``2MB``; reservations (``2MB.rsvd``) are no usage.
_HUGE_PAGES = {1: re.compile(r"hugetlb\.([^.]+)\.usage_in_bytes"), 2: re.compile(r"hugetlb\.([^.]+)\.current")}


def read_metrics(cgroup: Cgroup, cpu_shares: int, name_of: Callable[[int, int], str]) -> CgroupMetrics:
    """Return the present figures; a cgroup that is gone has none.

    :param cpu_shares: the requested shares, see :func:`criwist.kernel.cgroup.v2.shares_of_weight`.
    :param name_of: see :func:`criwist.kernel.cgroup.io_stats.read_io`.
    """
    one = cgroup.version == 1
    figures: dict[str, Any] = {
        **(_cpu_v1(cgroup) if one else parse_cpu_stat(read_bytes(cgroup.v2, "cpu.stat"))),
        **(_memory_v1(cgroup.directory("memory")) if one else _memory_v2(cgroup.v2)),
        **(_limits_v1(cgroup) if one else _limits_v2(cgroup.v2, cpu_shares)),
        "tasks_max": _limit(read_bytes(cgroup.directory("pids"), "pids.max")),
    }
    huge_pages, peaks = _huge_pages(cgroup)
    return CgroupMetrics(
        **figures,
        huge_pages=huge_pages,
        huge_pages_peak=peaks,
        devices=read_io(cgroup, name_of),
    )


def parse_cpu_stat(text: bytes | None) -> dict[str, int | None]:
    """Return members of :class:`CgroupMetrics` in version 2's ``cpu.stat``; without its controller no periods."""
    names = {b"user_usec": "cpu_user", b"system_usec": "cpu_system", b"throttled_usec": "throttled"}
    microseconds = {names[key]: value * 1000 for key, value in counters(text, names).items()}
    return {**microseconds, **_periods(text)}


def parse_cpu_stat_v1(text: bytes | None) -> dict[str, int | None]:
    """Return the same members in version 1's ``cpu.stat``, which counts nanoseconds."""
    return {"throttled": counters(text, (b"throttled_time",)).get(b"throttled_time"), **_periods(text)}


def parse_cpuacct_stat(text: bytes | None) -> dict[str, int | None]:
    """Return the CPU time of programs and of the kernel in version 1's ``cpuacct.stat``."""
    names = {b"user": "cpu_user", b"system": "cpu_system"}
    return {names[key]: value * _USER_TICK for key, value in counters(text, names).items()}


def parse_memory_stat(text: bytes | None, *, version: int) -> dict[str, int | None]:
    """Return members of :class:`CgroupMetrics` in ``memory.stat`` of this version of cgroups."""
    found = counters(text, _MEMORY_V1 if version == 1 else _MEMORY_V2)
    members = {
        "page_cache": found.get(b"total_cache" if version == 1 else b"file"),
        "mapped_file": found.get(b"total_mapped_file" if version == 1 else b"file_mapped"),
        "own_page_faults": found.get(b"pgfault"),
        "own_major_page_faults": found.get(b"pgmajfault"),
    }
    if version == 2:
        parts = [found[key] for key in _KERNEL_PARTS if key in found]
        members["kernel_memory"] = found.get(b"kernel", sum(parts) if parts else None)
    return members


def _periods(text: bytes | None) -> dict[str, int | None]:
    names = {b"nr_periods": "periods", b"nr_throttled": "throttled_periods"}
    return {names[key]: value for key, value in counters(text, names).items()}


def _cpu_v1(cgroup: Cgroup) -> dict[str, int | None]:
    return {
        **parse_cpuacct_stat(read_bytes(cgroup.directory("cpuacct"), "cpuacct.stat")),
        **parse_cpu_stat_v1(read_bytes(cgroup.directory("cpu"), "cpu.stat")),
    }


def _memory_v1(directory: str) -> dict[str, int | None]:
    oom = counters(read_bytes(directory, "memory.oom_control"), (b"oom_kill",))
    return {
        **parse_memory_stat(read_bytes(directory, "memory.stat"), version=1),
        "kernel_memory": counter(read_bytes(directory, "memory.kmem.usage_in_bytes")),
        "memory_peak": counter(read_bytes(directory, "memory.max_usage_in_bytes")),
        "memory_limit_hits": counter(read_bytes(directory, "memory.failcnt")),
        "oom_kills": oom.get(b"oom_kill"),
    }


def _memory_v2(directory: str) -> dict[str, int | None]:
    events = counters(read_bytes(directory, "memory.events"), (b"max", b"oom_kill"))
    return {
        **parse_memory_stat(read_bytes(directory, "memory.stat"), version=2),
        "memory_peak": counter(read_bytes(directory, "memory.peak")),
        "memory_limit_hits": events.get(b"max"),
        "oom_kills": events.get(b"oom_kill"),
    }


def _limits_v1(cgroup: Cgroup) -> dict[str, int | None]:
    cpu, memory = cgroup.directory("cpu"), cgroup.directory("memory")
    return {
        "cpu_period": counter(read_bytes(cpu, "cpu.cfs_period_us")),
        "cpu_quota": counter(read_bytes(cpu, "cpu.cfs_quota_us")),  # -1, no limit, is no counter
        "cpu_shares": counter(read_bytes(cpu, "cpu.shares")),
        "memory_limit": _limit(read_bytes(memory, "memory.limit_in_bytes")),
        "memory_reservation": _limit(read_bytes(memory, "memory.soft_limit_in_bytes")),
        "swap_limit": _limit(read_bytes(memory, "memory.memsw.limit_in_bytes")),
    }


def _limits_v2(directory: str, cpu_shares: int) -> dict[str, int | None]:
    quota, _, period = (read_bytes(directory, "cpu.max") or b"").partition(b" ")
    weight = counter(read_bytes(directory, "cpu.weight"))
    return {
        "cpu_period": counter(period),
        "cpu_quota": counter(quota),
        "cpu_shares": shares_of_weight(weight, cpu_shares) if weight else None,
        "memory_limit": _limit(read_bytes(directory, "memory.max")),
        "memory_reservation": _limit(read_bytes(directory, "memory.low")),
        "swap_limit": _limit(read_bytes(directory, "memory.swap.max")),
    }


def _limit(text: bytes | None) -> int | None:
    """Return a limit, 0 if there is none; None if there is no such file."""
    if text is not None and text.strip() == b"max":
        return 0
    value = counter(text)
    return value if value is None or value < _UNLIMITED else 0


def _huge_pages(cgroup: Cgroup) -> tuple[dict[str, int], dict[str, int]]:
    """Return the usage, and the highest usage so far, by page size.  Version 2 does not keep the latter."""
    directory = cgroup.directory("hugetlb")
    try:
        names = os.listdir(directory) if directory else []
    except OSError:
        names = []
    usage: dict[str, int] = {}
    peaks: dict[str, int] = {}
    for name in sorted(names):
        match = _HUGE_PAGES[cgroup.version].fullmatch(name)
        if match is None:
            continue
        for found, file in ((usage, name), (peaks, f"hugetlb.{match[1]}.max_usage_in_bytes")):
            value = counter(read_bytes(directory, file))
            if value is not None:
                found[match[1]] = value
    return usage, peaks
