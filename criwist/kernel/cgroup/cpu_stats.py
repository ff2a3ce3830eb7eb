"""CPU time of a cgroup: ``cpuacct.usage`` of version 1, ``cpu.stat`` of version 2."""

from __future__ import annotations

from criwist.kernel.cgroup.counters import counter, counters, read_bytes
from criwist.kernel.cgroup.paths import Cgroup

_USAGE = b"usage_usec"


def read_cpu_time(cgroup: Cgroup) -> int | None:
    """Return nanoseconds since the cgroup was created; None if the kernel does not account them."""
    if cgroup.version == 1:
        return counter(read_bytes(cgroup.directory("cpuacct"), "cpuacct.usage"))
    return parse_cpu_stat(read_bytes(cgroup.v2, "cpu.stat"))


def parse_cpu_stat(text: bytes | None) -> int | None:
    """Return the CPU time in version 2's ``cpu.stat``, in nanoseconds."""
    microseconds = counters(text, (_USAGE,)).get(_USAGE)
    return None if microseconds is None else microseconds * 1000
