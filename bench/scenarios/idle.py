"""What a node of 50 pods costs per second: when nobody asks, and when a kubelet does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.ground import Ground, have_pods
from bench.measure import cpu_seconds
from bench.table import Table, milliseconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI

_PODS = 50
#: Seconds that each state is watched for.
_WATCHED = 20.0
_SETTLE = 3.0
#: How often a kubelet asks for all sandboxes and containers (its PLEG), and for the runtime's status; seconds.
_RELIST, _STATUS = 1.0, 5.0


def run(ground: Ground) -> Iterator[Table]:
    """One table: CPU time per second of the daemons that serve, and of the engine behind criwist."""
    table = Table(
        f"CPU time per second, {_PODS} pods of one container", ("", "criwist", "dockerd behind it", "containerd")
    )
    for cri in ground.runtimes:
        have_pods(cri, _PODS)
    time.sleep(_SETTLE)
    for name, kubelet in (("nobody asks", _nobody), ("a kubelet asks", _kubelet)):
        criwist, dockerd = _watched(ground.client("criwist"), kubelet, ground.criwist.pid, ground.engine.program.pid)
        (containerd,) = _watched(ground.client("containerd"), kubelet, ground.containerd.program.pid)
        table.add(name, *map(milliseconds, (criwist, dockerd, containerd)))
    yield table


def _watched(cri: CRI, asking: Callable[[CRI], None], *pids: int) -> list[float]:
    """CPU seconds per second of these processes while somebody is *asking* the runtime."""
    before = [cpu_seconds(pid) for pid in pids]
    began = time.monotonic()
    while time.monotonic() < began + _WATCHED:
        asking(cri)
    passed = time.monotonic() - began
    return [(cpu_seconds(pid) - used) / passed for pid, used in zip(pids, before, strict=True)]


def _nobody(cri: CRI) -> None:
    time.sleep(_RELIST)


def _kubelet(cri: CRI) -> None:
    """What a kubelet asks in the time between two statuses, when nothing changes."""
    cri.runtime.Status(api.StatusRequest())
    for _ in range(int(_STATUS / _RELIST)):
        cri.runtime.ListPodSandbox(api.ListPodSandboxRequest())
        cri.runtime.ListContainers(api.ListContainersRequest())
        time.sleep(_RELIST)
