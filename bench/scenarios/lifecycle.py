"""Time to make and remove a pod of one container, one at a time and eight at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench.ground import Ground, no_pods
from bench.measure import cpu_seconds
from bench.table import Table, milliseconds
from tests.harness.client import CRI

_PODS = 16
_STEPS = ("RunPodSandbox", "CreateContainer", "StartContainer", "ExecSync", "StopContainer", "StopPodSandbox", "Remove")


def run(ground: Ground) -> Iterator[Table]:
    """Yield a table of steps, and one of whole pods per second."""
    for cri in ground.runtimes:
        no_pods(cri)
    steps = Table(f"median of {_PODS} pods, one after the other", ("step", *(cri.name for cri in ground.runtimes)))
    by_runtime = [_one_by_one(cri) for cri in ground.runtimes]
    for step in _STEPS:
        steps.add(step, *(milliseconds(median(taken[step])) for taken in by_runtime))
    yield steps
    rate = Table(f"{_PODS} pods, eight at a time", ("", *(cri.name for cri in ground.runtimes)))
    results = [_at_once(ground, cri) for cri in ground.runtimes]
    rate.add("pods per second", *(f"{pods:.2f}" for pods, _ in results))
    rate.add("CPU of the daemon per pod", *(milliseconds(cpu) for _, cpu in results))
    yield rate


def _one_by_one(cri: CRI) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {step: [] for step in _STEPS}
    for _ in range(_PODS):
        _live(cri, lambda step, seconds: taken[step].append(seconds))
    return taken


def _at_once(ground: Ground, cri: CRI) -> tuple[float, float]:
    before, began = cpu_seconds(ground.pid(cri)), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _live(cri, lambda step, seconds: None), range(_PODS)))
    return _PODS / (time.monotonic() - began), (cpu_seconds(ground.pid(cri)) - before) / _PODS


def _live(cri: CRI, took: Callable[[str, float], object]) -> None:
    """Make and remove a pod; report the duration of each step to *took*."""
    clock = time.perf_counter
    pod, times = cri.pod(), [clock()]
    pod_id = cri.run_pod(pod)
    times.append(clock())
    container_id = cri.create(pod_id, cri.container("sleep", "1000"), pod)
    times.append(clock())
    cri.start(container_id)
    times.append(clock())
    cri.execute(container_id, "true")
    times.append(clock())
    cri.stop(container_id, timeout=0)
    times.append(clock())
    cri.stop_pod(pod_id)
    times.append(clock())
    cri.remove_pod(pod_id)
    times.append(clock())
    for step, began, ended in zip(_STEPS, times[:-1], times[1:], strict=True):
        took(step, ended - began)
