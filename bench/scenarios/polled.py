"""The headline: 50 and 200 pods polled for a minute as a kubelet does; CPU time, latency of the stats, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from attrs import frozen

from bench.ground import Ground, have_pods, no_pods
from bench.kubelet import Kubelet
from bench.measure import Calls, cpu_seconds, measure, reaped_seconds, resident, shims
from bench.table import Table, mebibytes, milliseconds, seconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.leftovers import cgroup_parent

PODS = (50, 200)
_MINUTE = 60.0
#: Calls of each kind, in rounds that alternate between the runtimes: both have the same share of a machine's bad times.
_ROUNDS, _CALLS = 10, 10
#: Seconds after which a round is cut short: containerd 1.6 needs a second and more for the stats of 200 pods.
_ROUND = 3.0
#: Seconds until the events of the last changes are handled.
_SETTLE = 5.0


@frozen
class Minute:
    """CPU seconds of a polled minute."""

    criwist: float
    #: dockerd and its containerd.
    engine: float
    containerd: float
    #: The shims of all containers.  Docker's answer no stats of criwist's.
    docker_shims: float
    containerd_shims: float

    def figures(self) -> tuple[float, ...]:
        """Return the columns of the headline."""
        together = self.criwist + self.engine
        return self.criwist, self.engine, together, self.containerd, self.docker_shims, self.containerd_shims


def run(ground: Ground) -> Iterator[Table]:
    """Yield the latencies of each number of pods, then the CPU time of a minute, then memory."""
    memory = Table("resident memory of the daemon after it", ("pods", *(cri.name for cri in ground.runtimes)))
    minutes = {}
    for cri in ground.runtimes:
        no_pods(cri)
    for pods in PODS:
        for cri in ground.runtimes:
            have_pods(cri, pods, f"{cgroup_parent(ground.root.name)}/{cri.name}")
        time.sleep(_SETTLE)
        minutes[pods] = _minute(ground)
        memory.add(str(pods), *(mebibytes(resident(ground.pid(cri))) for cri in ground.runtimes))
        yield _latencies(ground, pods)
    yield _headline(minutes)
    yield memory


def _minute(ground: Ground) -> Minute:
    """Poll both runtimes in the same minute, each from a thread of its own."""
    engine, containerd = ground.engine, ground.containerd
    reads: list[Callable[[], float]] = [
        lambda: _used(ground.criwist.pid),
        lambda: _used(*ground.engine_pids()),
        lambda: _used(containerd.program.pid),
        lambda: _used(*shims(engine.root)),
        lambda: _used(*shims(containerd.root)),
    ]
    before = [read() for read in reads]
    with ThreadPoolExecutor(len(ground.runtimes)) as pool:
        list(pool.map(lambda cri: Kubelet(cri).run(_MINUTE), ground.runtimes))
    return Minute(*(read() - used for read, used in zip(reads, before, strict=True)))


def _used(*pids: int) -> float:
    """Return the CPU seconds of these processes and of their children that have ended."""
    return sum(cpu_seconds(pid) + reaped_seconds(pid) for pid in pids)


def _headline(minutes: dict[int, Minute]) -> Table:
    columns = ("pods", "criwist", "its engine", "together", "containerd", "Docker's shims", "containerd's shims")
    table = Table("CPU seconds in a minute of a kubelet's requests", columns)
    rows = {pods: minute.figures() for pods, minute in minutes.items()}
    for pods, figures in rows.items():
        table.add(str(pods), *map(seconds, figures))
    few, many = rows[PODS[0]], rows[PODS[-1]]
    growth = (f"{after / before:.1f}" if before else "-" for before, after in zip(few, many, strict=True))
    table.add(f"times, for {PODS[-1] / PODS[0]:.0f} times the pods", *growth)
    return table


def _latencies(ground: Ground, pods: int) -> Table:
    columns = ["call"]
    for cri in ground.runtimes:
        columns += [f"{cri.name} median", "p99", "CPU"]
    table = Table(
        f"{pods} pods of one container, {_ROUNDS} rounds of {_CALLS} calls or {_ROUND:.0f} s each, alternating", columns
    )
    for name in ("ListContainerStats", "ListPodSandboxStats"):
        cells = [name]
        for calls in _alternating([(_call(cri, name), ground.pid(cri)) for cri in ground.runtimes]):
            cells += map(milliseconds, (calls.percentile(50), calls.percentile(99), calls.cpu))
        table.add(*cells)
    return table


def _call(cri: CRI, name: str) -> Callable[[], object]:
    method, request = getattr(cri.runtime, name), getattr(api, f"{name}Request")()
    return lambda: method(request)


def _alternating(subjects: list[tuple[Callable[[], object], int]]) -> list[Calls]:
    rounds = [
        [measure(call, pid, count=_CALLS, warm_up=1, within=_ROUND) for call, pid in subjects] for _ in range(_ROUNDS)
    ]
    return [Calls.together(series) for series in zip(*rounds, strict=True)]
