"""Seconds from the start of the daemon until it serves, with no pods and with 50."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.ground import Ground, have_pods, no_pods
from bench.table import Table, milliseconds
from tests.harness.client import answers_version

_STARTS = 5


def run(ground: Ground) -> Iterator[Table]:
    """One table: a row for each number of pods."""
    columns = ["pods"]
    for cri in ground.runtimes:
        columns += [f"{cri.name} median", "slowest"]
    table = Table(f"start to first answered Version, {_STARTS} starts", columns)
    for pods in (0, 50):
        cells = [str(pods)]
        for cri in ground.runtimes:
            no_pods(cri)
            have_pods(cri, pods)
            starts = [_start(ground, cri.name) for _ in range(_STARTS)]
            cells += [milliseconds(median(starts)), milliseconds(max(starts))]
        table.add(*cells)
    yield table


def _start(ground: Ground, name: str) -> float:
    if name == "criwist":
        return ground.restart_criwist()
    program = ground.containerd.program
    program.stop()
    return program.start(lambda: answers_version(ground.containerd.socket))
