"""Changes that other clients make in the engine, and engines and criwists that stop and start again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.counting_proxy import CountingProxy
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine, EngineError

#: Seconds within which a read has a change.
SOON = 1.0


# -- other clients of the engine


def test_docker_kill(cri: CRI, engine: Engine) -> None:
    """A container that ``docker kill`` ended is EXITED within a second, in list and status."""
    _, container_id = cri.run_in_pod()
    engine.post(f"/containers/{container_id}/kill", signal="KILL")
    exited = api.ContainerStateValue(state=api.CONTAINER_EXITED)
    eventually(lambda: cri.container_ids(state=exited) == [container_id], within=SOON)
    status = cri.status(container_id)
    assert (status.state, status.exit_code, status.reason) == (api.CONTAINER_EXITED, 137, "Error")


def test_docker_rm(cri: CRI, engine: Engine) -> None:
    """A container that ``docker rm -f`` removed is unknown within a second."""
    _, container_id = cri.run_in_pod()
    engine.delete(f"/containers/{container_id}", force="1")
    eventually(lambda: cri.container_ids() == [], within=SOON)
    refused(lambda: cri.status(container_id), grpc.StatusCode.NOT_FOUND)
    cri.stop(container_id)
    cri.remove(container_id)


def test_docker_rm_at_the_same_time(cri: CRI, engine: Engine) -> None:
    """RemoveContainer and RemovePodSandbox succeed when another client, or a caller that has gone, is removing too."""

    def remove(identifier: str) -> None:
        with suppress(EngineError):
            engine.delete(f"/containers/{identifier}", force="1")

    with ThreadPoolExecutor() as threads:
        for _ in range(4):
            pod_id, container_id = cri.run_in_pod()
            threads.submit(remove, container_id)
            cri.remove(container_id)
            cri.stop_pod(pod_id)
            threads.submit(remove, pod_id)
            cri.remove_pod(pod_id)
    assert (cri.container_ids(), cri.pod_ids()) == ([], [])


def test_docker_rm_of_a_sandbox(cri: CRI, engine: Engine) -> None:
    """A sandbox that ``docker rm -f`` removed is unknown within a second; its container can be removed."""
    pod_id, container_id = cri.run_in_pod()
    engine.delete(f"/containers/{pod_id}", force="1")
    eventually(lambda: pod_id not in cri.pod_ids(), within=SOON)
    cri.stop(container_id, timeout=0)
    cri.remove(container_id)
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)
    assert cri.container_ids() == []


def test_kill_of_the_process(cri: CRI, engine: Engine) -> None:
    """A container whose process was killed on the host is EXITED within a second."""
    _, container_id = cri.run_in_pod()
    os.kill(engine.inspect(container_id)["State"]["Pid"], signal.SIGKILL)
    eventually(lambda: cri.status(container_id).state == api.CONTAINER_EXITED, within=SOON)


def test_out_of_memory(cri: CRI) -> None:
    """The first EXITED status of an OOM-killed container has the reason OOMKilled, because kubelet reads it once."""
    config = cri.container("sh", "-c", "sleep 0.3; tail /dev/zero")
    config.linux.resources.memory_limit_in_bytes = 16 << 20
    pod = cri.pod()
    exited = cri.wait_for_exit(cri.run(cri.run_pod(pod), config, pod), within=30)
    assert (exited.reason, exited.exit_code) == ("OOMKilled", 137)


def test_docker_run_is_not_ours(cri: CRI, engine: Engine) -> None:
    """A container that Docker alone started is in no list of pods or containers."""
    created = engine.post("/containers/create", {"Image": images.BUSYBOX, "Cmd": ["sleep", "100"]})["Id"]
    engine.post(f"/containers/{created}/start")
    try:
        time.sleep(0.3)
        assert cri.pod_ids() == []
        assert cri.container_ids() == []
        refused(lambda: cri.status(created), grpc.StatusCode.NOT_FOUND)
        cri.remove(created)
        assert engine.inspect(created)["State"]["Running"]
    finally:
        engine.delete(f"/containers/{created}", force="1")


def test_reads_follow_own_writes(cri: CRI) -> None:
    """The next read has the change that an RPC made, without a wait."""
    pod = cri.pod()
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    for _ in range(10):
        pod.metadata.attempt += 1
        pod_id = cri.run_pod(pod)
        assert cri.pod_ids(state=api.PodSandboxStateValue(state=api.SANDBOX_READY)) == [pod_id]
        container_id = cri.create(pod_id, cri.container(), pod)
        assert cri.container_ids() == [container_id]
        cri.start(container_id)
        assert cri.container_ids(state=running) == [container_id]
        cri.stop(container_id, timeout=0)
        assert cri.container_ids(state=running) == []
        cri.remove(container_id)
        assert cri.container_ids() == []
        cri.stop_pod(pod_id)
        assert cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY
        cri.remove_pod(pod_id)
        assert cri.pod_ids() == []


# -- calls of the engine


def test_reads_make_no_engine_call(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """List and Status calls make no call to the engine in steady state."""
    proxy = CountingProxy(engine.root / "counted.sock", engine.socket)
    try:
        daemon = criwist_daemon(docker_endpoint=proxy.endpoint)
        daemon.start()
        cri = client_of(daemon)
        pod_id, container_id = cri.run_in_pod()
        cri.image(images.BUSYBOX)
        proxy.settle()
        for _ in range(20):
            cri.runtime.Version(api.VersionRequest())
            cri.runtime.Status(api.StatusRequest())
            cri.pod_ids()
            cri.pod_status(pod_id)
            cri.container_ids()
            cri.status(container_id)
            cri.images.ListImages(api.ListImagesRequest())
        assert proxy.requests() == []
        cri.clean()
    finally:
        proxy.close()


# -- stops and starts


@pytest.fixture
def own_engine(engine_factory: Callable[..., Engine]) -> Iterator[Engine]:
    """An engine of the test's own whose containers outlive it."""
    engine = engine_factory(live_restore=True)
    engine.start()
    images.load_all(engine)
    yield engine
    engine.destroy()


def _ready(cri: CRI) -> bool:
    conditions = {each.type: each for each in cri.runtime.Status(api.StatusRequest()).status.conditions}
    return bool(conditions["RuntimeReady"].status)


def test_engine_is_killed_and_comes_back(
    own_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """Without the engine Status is not ready and calls fail with UNAVAILABLE; afterwards all is as in the engine."""
    daemon = criwist_daemon(engine=own_engine)
    daemon.start()
    cri = client_of(daemon)
    pod_id, container_id = cri.run_in_pod()
    _, other = cri.run_in_pod("sleep", "1000")
    pid = own_engine.inspect(other)["State"]["Pid"]
    own_engine.kill()
    eventually(lambda: not _ready(cri), within=5)
    conditions = {each.type: each for each in cri.runtime.Status(api.StatusRequest()).status.conditions}
    assert conditions["RuntimeReady"].reason
    assert conditions["RuntimeReady"].message
    refused(lambda: cri.run_pod(), grpc.StatusCode.UNAVAILABLE)
    refused(lambda: cri.container_ids(), grpc.StatusCode.UNAVAILABLE)
    os.kill(pid, signal.SIGKILL)
    own_engine.start()
    eventually(lambda: _ready(cri), within=15)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
    eventually(lambda: cri.status(other).state == api.CONTAINER_EXITED, within=5)
    assert cri.pod_status(pod_id).state == api.SANDBOX_READY
    assert cri.output(container_id, "echo", "on") == "on\n"


def test_start_without_an_engine(
    own_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """criwist serves without the engine, with a Status that is not ready, and connects when the engine starts."""
    own_engine.stop()
    daemon = criwist_daemon(engine=own_engine)
    cri = client_of(daemon)
    daemon.program.start(daemon.socket.exists)
    eventually(lambda: not _ready(cri))
    own_engine.start()
    eventually(lambda: _ready(cri), within=15)
    cri.run_in_pod()


def test_restart_of_criwist(
    own_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """A criwist that was killed and started again knows all pods, with their addresses and handlers."""
    daemon = criwist_daemon(engine=own_engine)
    daemon.start()
    cri = client_of(daemon)
    pod_id = cri.run_pod(cri.pod(), runtime_handler="runc")
    container_pod, container_id = cri.run_in_pod()
    before = cri.pod_status(pod_id), cri.status(container_id)
    daemon.kill()
    daemon.start()
    again = client_of(daemon)
    assert (again.pod_status(pod_id), again.status(container_id)) == before
    assert set(again.pod_ids()) == {pod_id, container_pod}
    assert again.output(container_id, "echo", "on") == "on\n"


def test_container_that_the_engine_cannot_inspect(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """A container whose layer is lost is listed as in the engine, delays no other container, and can be removed."""
    daemon = criwist_daemon()
    daemon.start()
    client = client_of(daemon)
    pod = client.pod()
    pod_id = client.run_pod(pod)
    container_id = client.run(pod_id, client.container("sh", "-c", "exit 3", name="container"), pod)
    client.wait_for_exit(container_id)
    layer = Path(engine.inspect(container_id)["GraphDriver"]["Data"]["UpperDir"]).parent
    layer.rename(layer.with_name("lost"))
    try:
        with pytest.raises(EngineError, match="500"):
            engine.inspect(container_id)
        daemon.kill()
        daemon.start()
        status = client.status(container_id)
        assert (status.state, status.exit_code, status.metadata.name) == (api.CONTAINER_EXITED, 3, "container")
        assert client.pod_status(pod_id).state == api.SANDBOX_READY
        client.remove_pod(pod_id)
        assert client.container_ids() == []
    finally:
        shutil.rmtree(layer.with_name("lost"))


def test_events_missed_while_away(
    own_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """criwist knows changes of containers that it missed as soon as it serves again."""
    daemon = criwist_daemon(engine=own_engine)
    daemon.start()
    cri = client_of(daemon)
    _, ended = cri.run_in_pod()
    _, removed = cri.run_in_pod()
    daemon.stop()
    own_engine.post(f"/containers/{ended}/kill", signal="KILL")
    own_engine.delete(f"/containers/{removed}", force="1")
    daemon.start()
    again = client_of(daemon)
    assert again.status(ended).state == api.CONTAINER_EXITED
    assert again.container_ids() == [ended]
