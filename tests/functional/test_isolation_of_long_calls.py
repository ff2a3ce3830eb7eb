"""Long calls do not delay short ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.slow_registry import SlowRegistry

_STOPS = 150
_PULLS = 150
#: Seconds that a short call may take meanwhile.
_PROMPT = 0.1


def test_blocked_stops_and_pulls(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], slow_registry: SlowRegistry
) -> None:
    """While 150 StopContainer and 150 PullImage calls wait, List, Status and Version calls return within 100 ms."""
    daemon = criwist_daemon(image_pull_progress_deadline="0")
    daemon.start()
    cri = client_of(daemon)
    slow_registry.silent = True
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    stubborn = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    containers = [cri.run(pod_id, cri.container(*stubborn), pod) for _ in range(10)]
    waiting: list[grpc.Future] = []
    for number in range(_STOPS):
        stop = api.StopContainerRequest(container_id=containers[number % len(containers)], timeout=600)
        waiting.append(cri.runtime.StopContainer.future(stop, timeout=scaled(700)))
    for number in range(_PULLS):
        image = api.ImageSpec(image=f"{slow_registry.host}/blocked-{number}:1")
        waiting.append(cri.images.PullImage.future(api.PullImageRequest(image=image), timeout=scaled(700)))
    # All calls have arrived when the engine has one stop of each container.
    eventually(lambda: cri.runtime.Version(api.VersionRequest()))
    time.sleep(scaled(2))
    took = [_time(call) for _ in range(50) for call in _short_calls(cri, containers[0])]
    assert sum(call.done() for call in waiting) == 0
    assert max(took) < scaled(_PROMPT), f"slowest {max(took):.3f} s, median {sorted(took)[len(took) // 2]:.4f} s"
    # Other long calls are not delayed either: a pod runs and is removed.
    began = time.monotonic()
    other = cri.run_pod()
    cri.stop_pod(other)
    cri.remove_pod(other)
    assert time.monotonic() - began < scaled(10)
    for call in waiting[_STOPS:]:
        call.cancel()
    cri.stop_pod(pod_id)
    for call in waiting[:_STOPS]:
        call.result(timeout=scaled(30))


def test_blocked_execs(cri: CRI) -> None:
    """While 100 ExecSync calls wait for their commands, ListContainers returns within 100 ms."""
    _, container_id = cri.run_in_pod()
    request = api.ExecSyncRequest(container_id=container_id, cmd=["sleep", "30"])
    waiting = [cri.runtime.ExecSync.future(request, timeout=scaled(60)) for _ in range(100)]
    eventually(lambda: cri.output(container_id, "ps", "-o", "args").count("sleep 30") >= 90, within=60)
    took = [_time(lambda: cri.container_ids()) for _ in range(50)]
    for call in waiting:
        call.cancel()
    assert max(took) < scaled(_PROMPT)


def test_silent_connections(cri: CRI) -> None:
    """A client with silent connections does not delay the calls of others."""
    idle = [
        grpc.insecure_channel(f"unix://{cri.socket}", options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(50)
    ]
    for channel in idle:
        grpc.channel_ready_future(channel).result(timeout=scaled(10))
    took = [_time(lambda: cri.pod_ids()) for _ in range(20)]
    for channel in idle:
        channel.close()
    assert max(took) < scaled(_PROMPT)


def _short_calls(cri: CRI, container_id: str) -> list[Callable[[], object]]:
    return [
        lambda: cri.container_ids(),
        lambda: cri.pod_ids(),
        lambda: cri.status(container_id),
        lambda: cri.runtime.Version(api.VersionRequest()),
        lambda: cri.runtime.Status(api.StatusRequest()),
    ]


def _time(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
