"""The calls kubelet makes every second, with 10, 50 and 110 pods: latency, CPU, memory, and calls to Docker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from bench.floor import floor
from bench.ground import Ground, have_pods
from bench.measure import measure, resident
from bench.table import Table, mebibytes, microseconds
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.counting_proxy import CountingProxy

PODS = (10, 50, 110)
_CALLS = 300
#: Seconds until the events of the last changes are handled and garbage is collected.
_SETTLE = 3.0


def run(ground: Ground) -> Iterator[Table]:
    """Yield one table for each number of pods, then memory, then calls to Docker."""
    memory = Table("resident memory of the daemon", ("pods", *(cri.name for cri in ground.runtimes)))
    for pods in PODS:
        for cri in ground.runtimes:
            have_pods(cri, pods)
        time.sleep(_SETTLE)
        yield _latencies(ground, pods)
        memory.add(str(pods), *(mebibytes(resident(ground.pid(cri))) for cri in ground.runtimes))
    yield memory
    yield _floor(ground)
    yield _docker_calls(ground)


def calls(cri: CRI) -> Mapping[str, Callable[[], object]]:
    """Return the calls by name; those for one pod or container name the same one each time."""
    pod_id, container_id = cri.pod_ids()[0], cri.container_ids()[0]
    runtime, image_service = cri.runtime, cri.images
    version, status, pods = api.VersionRequest(), api.StatusRequest(), api.ListPodSandboxRequest()
    containers, images = api.ListContainersRequest(), api.ListImagesRequest()
    pod_status = api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)
    container_status = api.ContainerStatusRequest(container_id=container_id)
    return {
        "Version": lambda: runtime.Version(version),
        "Status": lambda: runtime.Status(status),
        "ListPodSandbox": lambda: runtime.ListPodSandbox(pods),
        "ListContainers": lambda: runtime.ListContainers(containers),
        "PodSandboxStatus": lambda: runtime.PodSandboxStatus(pod_status),
        "ContainerStatus": lambda: runtime.ContainerStatus(container_status),
        "ListImages": lambda: image_service.ListImages(images),
    }


def _latencies(ground: Ground, pods: int) -> Table:
    columns = ["call"]
    for cri in ground.runtimes:
        columns += [f"{cri.name} median", "p99", "CPU"]
    table = Table(f"{pods} pods of one container, {_CALLS} calls each, one after the other", columns)
    by_runtime = [(cri, calls(cri)) for cri in ground.runtimes]
    for name in by_runtime[0][1]:
        cells = [name]
        for cri, made in by_runtime:
            result = measure(made[name], ground.pid(cri), count=_CALLS)
            cells += [
                microseconds(result.percentile(50)),
                microseconds(result.percentile(99)),
                microseconds(result.cpu),
            ]
        table.add(*cells)
    return table


def _floor(ground: Ground) -> Table:
    """Measure grpcio's own share of criwist's latencies."""
    with floor(ground.root / "floor.sock") as (nothing, pid):
        least = measure(nothing, pid, count=_CALLS)
    table = Table("an RPC that does nothing, served by grpcio alone", ("median", "p99", "CPU"))
    table.add(*map(microseconds, (least.percentile(50), least.percentile(99), least.cpu)))
    return table


def _docker_calls(ground: Ground) -> Table:
    """Count criwist's requests to the engine for each call.  criwist is restarted behind a proxy for this."""
    proxy = CountingProxy(ground.root / "counted.sock", ground.engine.socket)
    ground.restart_criwist(proxy.endpoint)
    cri = ground.client("criwist")
    cri.pod_ids()
    time.sleep(_SETTLE)
    table = Table("requests to Docker", ("call", "calls", "requests"))
    for name, call in calls(cri).items():
        proxy.reset()
        for _ in range(_CALLS):
            call()
        table.add(name, str(_CALLS), str(len(proxy.requests())))
    ground.restart_criwist()
    proxy.close()
    return table
