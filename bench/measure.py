"""Measure the latency of calls, and the CPU time and memory of processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
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

    @classmethod
    def together(cls, series: Sequence[Calls]) -> Calls:
        """Return several series as one; the CPU time is the mean over all calls."""
        latencies = tuple(latency for calls in series for latency in calls.latencies)
        return cls(latencies, sum(calls.cpu * len(calls.latencies) for calls in series) / len(latencies))

    def percentile(self, part: int) -> float:
        """Return the latency that *part* per cent of the calls do not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) * part // 100, len(ordered) - 1)]


def measure(call: Callable[[], object], pid: int, *, count: int, warm_up: int = 20, within: float = math.inf) -> Calls:
    """Make *count* calls, one after the other, after *warm_up* calls that do not count.

    :param within: seconds after which no further call is made; one is made in any case.
    """
    for _ in range(warm_up):
        call()
    latencies: list[float] = []
    before, end = cpu_seconds(pid), time.monotonic() + within
    while len(latencies) < count and (not latencies or time.monotonic() < end):
        began = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - began)
    return Calls(tuple(latencies), (cpu_seconds(pid) - before) / len(latencies))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads, in seconds, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | _SCHED)


def reaped_seconds(pid: int) -> float:
    """Return the CPU time of a process's children that have ended, in seconds, to the clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def shims(root: Path) -> list[int]:
    """Return the shims of the containers of the containerd that keeps its socket below *root*."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            address = command[command.index(b"-address") + 1] if b"-address" in command[:-1] else b""
            if b"containerd-shim" in command[0] and address.startswith(bytes(root) + b"/"):
                found.append(int(process.name))
    return found


def resident(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
