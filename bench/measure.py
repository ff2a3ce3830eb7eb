"""Latency of calls, and the CPU time and memory of processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

#: The kernel's clock of the CPU time of another process: see ``MAKE_PROCESS_CPUCLOCK`` in its posix-timers.h.
_SCHED = 2


@frozen
class Calls:
    """What a series of equal calls took; seconds."""

    latencies: tuple[float, ...]
    #: CPU time of the runtime's process, per call.
    cpu: float

    def percentile(self, part: int) -> float:
        """The latency that *part* per cent of the calls stay within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) * part // 100, len(ordered) - 1)]


def measure(call: Callable[[], object], pid: int, *, count: int, warm_up: int = 20) -> Calls:
    """Make *count* calls, one after the other, after some that do not count."""
    for _ in range(warm_up):
        call()
    latencies = []
    before = cpu_seconds(pid)
    for _ in range(count):
        began = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - began)
    return Calls(tuple(latencies), (cpu_seconds(pid) - before) / count)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, with all its threads, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | _SCHED)


def resident(pid: int) -> int:
    """Bytes of memory that a process has resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
