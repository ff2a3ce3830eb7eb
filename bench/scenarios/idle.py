"""CPU time per second on a node of 50 pods: without requests, with a kubelet's lists, and with metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.ground import Ground, have_pods
from bench.measure import cpu_seconds, resident
from bench.table import Table, mebibytes, milliseconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.metrics import Metrics

_PODS = 50
#: Seconds for which each state is measured.
_MEASURED = 30.0
_SETTLE = 3.0
#: Periods in which a kubelet lists all sandboxes and containers (its PLEG), and reads the runtime's status; seconds.
_RELIST, _STATUS = 1.0, 5.0
#: Prometheus' period in many installations; seconds.
_SCRAPE = 15.0


def run(ground: Ground) -> Iterator[Table]:
    """Yield the CPU time per second of the daemons that serve and of the engine behind criwist; then with metrics."""
    table = Table(
        f"CPU time per second, {_PODS} pods of one container", ("", "criwist", "dockerd behind it", "containerd")
    )
    for cri in ground.runtimes:
        have_pods(cri, _PODS)
    time.sleep(_SETTLE)
    for name, kubelet in (("no requests", _nothing), ("a kubelet's requests", _kubelet)):
        criwist, dockerd = _used(ground.client("criwist"), kubelet, ground.criwist.pid, ground.engine.program.pid)
        (containerd,) = _used(ground.client("containerd"), kubelet, ground.containerd.program.pid)
        table.add(name, *map(milliseconds, (criwist, dockerd, containerd)))
    yield table
    yield _metrics(ground)


def _metrics(ground: Ground) -> Table:
    """Compare criwist without requests: without metrics, with them, and with a Prometheus that scrapes them."""
    table = Table("criwist and its metrics, no requests", ("metrics", "CPU time per second", "resident memory"))
    cri = ground.client("criwist")
    for name, on, scraped in (("off", False, False), ("on", True, False), ("scraped every 15 s", True, True)):
        ground.restart_criwist(metrics=on)
        time.sleep(_SETTLE)
        (used,) = _used(cri, _scrape(Metrics(ground.criwist)) if scraped else _nothing, ground.criwist.pid)
        table.add(name, milliseconds(used), mebibytes(resident(ground.criwist.pid)))
    ground.restart_criwist()
    return table


def _scrape(metrics: Metrics) -> Callable[[CRI], None]:
    def scrape(cri: CRI) -> None:
        metrics.get("/metrics")
        time.sleep(_SCRAPE)

    return scrape


def _used(cri: CRI, requests: Callable[[CRI], None], *pids: int) -> list[float]:
    """Return the CPU seconds per second of these processes while *requests* runs again and again."""
    before = [cpu_seconds(pid) for pid in pids]
    began = time.monotonic()
    while time.monotonic() < began + _MEASURED:
        requests(cri)
    passed = time.monotonic() - began
    return [(cpu_seconds(pid) - used) / passed for pid, used in zip(pids, before, strict=True)]


def _nothing(cri: CRI) -> None:
    time.sleep(_RELIST)


def _kubelet(cri: CRI) -> None:
    """Send a kubelet's requests between two reads of the status, when nothing changes."""
    cri.runtime.Status(api.StatusRequest())
    for _ in range(int(_STATUS / _RELIST)):
        cri.runtime.ListPodSandbox(api.ListPodSandboxRequest())
        cri.runtime.ListContainers(api.ListContainersRequest())
        time.sleep(_RELIST)
