"""Seconds from the start of the daemon until it serves, with no pods and with 50."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.ground import Ground, have_pods, no_pods
from bench.measure import cpu_seconds
from bench.table import Table, milliseconds
from tests.harness.client import CRI, answers_version

_STARTS = 5


def run(ground: Ground) -> Iterator[Table]:
    """Yield one table with a row for each number of pods."""
    columns = ["pods"]
    for cri in ground.runtimes:
        columns += [f"{cri.name} median", "slowest", "CPU"]
    table = Table(f"start to first answered Version, {_STARTS} starts", columns)
    for pods in (0, 50):
        cells = [str(pods)]
        for cri in ground.runtimes:
            no_pods(cri)
            have_pods(cri, pods)
            starts, processor = zip(*(_start(ground, cri) for _ in range(_STARTS)), strict=True)
            cells += [milliseconds(median(starts)), milliseconds(max(starts)), milliseconds(median(processor))]
        table.add(*cells)
    yield table


def _start(ground: Ground, cri: CRI) -> tuple[float, float]:
    """Start the daemon; return the seconds until it served, and the CPU seconds that it used by then."""
    if cri.name == "criwist":
        took = ground.restart_criwist()
    else:
        program = ground.containerd.program
        program.stop()
        took = program.start(lambda: answers_version(ground.containerd.socket))
    return took, cpu_seconds(ground.pid(cri))
