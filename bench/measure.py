"""Measure the latency of calls, and the CPU time and memory of processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

#: The kernel's clock of the CPU time of another process: see ``MAKE_PROCESS_CPUCLOCK`` in its posix-timers.h.
_SCHED = 2


@frozen
class Calls:
    """The latencies of a series of equal calls; seconds."""

    latencies: tuple[float, ...]
    #: CPU time of the runtime's process, per call.
    cpu: float

    def percentile(self, part: int) -> float:
        """Return the latency that *part* per cent of the calls do not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) * part // 100, len(ordered) - 1)]


def measure(call: Callable[[], object], pid: int, *, count: int, warm_up: int = 20) -> Calls:
    """Make *count* calls, one after the other, after *warm_up* calls that do not count."""
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
    """Return the CPU time of a process with all its threads, in seconds, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | _SCHED)


def resident(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
