"""What kubelet's cAdvisor asks of containerd, asked of criwist over a real engine."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from criwist import __version__
from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.cadvisor import KUBERNETES, MESSAGES, Cadvisor, code
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.counting_proxy import CountingProxy
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def proxy(engine: Engine, session_root: Path) -> Iterator[CountingProxy]:
    """Counts the requests to the engine."""
    path = session_root / "counted-cadvisor.sock"
    proxy = CountingProxy(path, Path(engine.endpoint.removeprefix("unix://")))
    yield proxy
    proxy.close()


@pytest.fixture
def daemon(criwist_daemon: Callable[..., Daemon], proxy: CountingProxy, session_root: Path) -> Daemon:
    """A criwist with the socket, started."""
    socket_path = session_root / "view" / "cadvisor.sock"
    daemon = criwist_daemon(docker_endpoint=proxy.endpoint, cadvisor_socket=str(socket_path))
    daemon.start()
    return daemon


@pytest.fixture
def view(daemon: Daemon) -> Path:
    """The socket's path."""
    return Path(str(daemon.options["cadvisor_socket"]))


@pytest.fixture
def cadvisor(view: Path) -> Iterator[Cadvisor]:
    """A cAdvisor."""
    with Cadvisor(view) as one:
        yield one


@pytest.fixture
def node(daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> CRI:
    """A kubelet."""
    return client_of(daemon)


def test_pod(node: CRI, cadvisor: Cadvisor) -> None:
    """Labels, image and pid of a sandbox and of its container are those of the pod and of its processes."""
    pod = node.pod()
    pod_id, container_id = node.run_in_pod(pod=pod)
    of_pod = {
        "io.kubernetes.pod.name": pod.metadata.name,
        "io.kubernetes.pod.namespace": pod.metadata.namespace,
        "io.kubernetes.pod.uid": pod.metadata.uid,
    }
    assert cadvisor.labels(pod_id) == of_pod | {"io.cri-containerd.kind": "sandbox"}
    name = node.status(container_id).metadata.name
    assert cadvisor.labels(container_id) == of_pod | {
        "io.cri-containerd.kind": "container",
        "io.kubernetes.container.name": name,
    }
    assert cadvisor.container(container_id).image == node.status(container_id).image.image
    assert cadvisor.container(pod_id).image.startswith("criwist/pause")
    assert cadvisor.container(pod_id).runtime.name == "runc"
    for identifier in (pod_id, container_id):
        task = cadvisor.task(identifier)
        assert task.status == 2
        assert identifier in Path(f"/proc/{task.pid}/cgroup").read_text()


def test_version(cadvisor: Cadvisor) -> None:
    """The version names criwist."""
    assert cadvisor.version().version == f"criwist-{__version__}"


def test_what_it_does_not_know(node: CRI, cadvisor: Cadvisor) -> None:
    """Other namespaces, none, and unknown ids are NOT_FOUND; other methods are UNIMPLEMENTED."""
    pod_id = node.run_pod()
    for namespace in ((), (("containerd-namespace", "moby"),), (*KUBERNETES, ("containerd-namespace", "moby"))):
        for ask in (cadvisor.container, cadvisor.task):
            with pytest.raises(grpc.RpcError) as caught:
                ask(pod_id, namespace)
            assert code(caught.value) == _NOT_FOUND
    for identifier in ("0" * 64, pod_id[:12], ""):
        with pytest.raises(grpc.RpcError) as caught:
            cadvisor.container(identifier)
        assert code(caught.value) == _NOT_FOUND
    for path in ("containers.v1.Containers/Delete", "containers.v1.Containers/List", "tasks.v1.Tasks/Kill"):
        with pytest.raises(grpc.RpcError) as caught:
            cadvisor.call(path, MESSAGES["GetContainerRequest"](id=pod_id), "Empty")
        assert code(caught.value) == grpc.StatusCode.UNIMPLEMENTED


def test_before_and_after_it_runs(node: CRI, cadvisor: Cadvisor) -> None:
    """A container has labels from its creation to its removal, and a task only while it runs."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    container_id = node.create(pod_id, node.container("sleep", "1000"), pod)
    assert cadvisor.labels(container_id)["io.cri-containerd.kind"] == "container"
    with pytest.raises(grpc.RpcError) as caught:
        cadvisor.task(container_id)
    assert code(caught.value) == _NOT_FOUND
    node.start(container_id)
    assert cadvisor.task(container_id).pid
    node.stop(container_id, timeout=0)
    with pytest.raises(grpc.RpcError) as caught:
        cadvisor.task(container_id)
    assert code(caught.value) == _NOT_FOUND
    assert cadvisor.labels(container_id)["io.cri-containerd.kind"] == "container"
    node.remove(container_id)
    with pytest.raises(grpc.RpcError) as caught:
        cadvisor.container(container_id)
    assert code(caught.value) == _NOT_FOUND


def test_no_request_to_docker(node: CRI, cadvisor: Cadvisor, proxy: CountingProxy) -> None:
    """Nothing that cAdvisor asks causes a request to Docker."""
    pod_id, container_id = node.run_in_pod()
    eventually(lambda: node.status(container_id).state == api.CONTAINER_RUNNING, within=5)
    proxy.settle()
    for _ in range(50):
        cadvisor.version()
        for identifier in (pod_id, container_id):
            cadvisor.container(identifier)
            cadvisor.task(identifier)
        with pytest.raises(grpc.RpcError):
            cadvisor.container("0" * 64)
    assert proxy.requests() == []


def test_each_cgroup_as_it_appears(node: CRI, view: Path) -> None:
    """A container is known when its cgroup appears: cAdvisor asks once, and takes NOT_FOUND for good."""
    before = _container_cgroups()
    answered: dict[str, dict[str, str] | str] = {}
    done = threading.Event()

    def watch() -> None:
        with Cadvisor(view) as cadvisor:
            cadvisor.version()
            while not done.is_set():
                for identifier in _container_cgroups() - before - set(answered):
                    try:
                        answered[identifier] = cadvisor.labels(identifier)
                    except grpc.RpcError as error:
                        answered[identifier] = str(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = {identifier for _ in range(8) for identifier in node.run_in_pod()}
        eventually(lambda: made <= set(answered), within=5)
    finally:
        done.set()
        watcher.join()
    assert {identifier: answered[identifier] for identifier in made if isinstance(answered[identifier], str)} == {}


def _container_cgroups() -> set[str]:
    """Return the ids of the containers that have a cgroup now."""
    found: set[str] = set()
    roots = [_CGROUPS / "memory", _CGROUPS / "unified", _CGROUPS]
    root = next(one for one in roots if one.is_dir())
    for _, directories, _ in os.walk(root):
        for name in directories:
            identifier = name.removeprefix("docker-").removesuffix(".scope")
            if len(identifier) == 64:
                found.add(identifier)
    return found


def test_socket(daemon: Daemon, view: Path) -> None:
    """The socket is root's alone, is there as soon as the CRI answers, and goes when criwist stops."""
    status = view.stat()
    assert (stat.S_ISSOCK(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid) == (True, 0o600, 0)
    daemon.stop()
    assert not view.exists()


def test_before_the_cri(criwist_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """The socket listens when the CRI's first appears: kubelet looks for it once."""
    path = tmp_path / "c.sock"
    daemon = criwist_daemon(cadvisor_socket=str(path))
    heard: list[bool] = []

    def ready() -> bool:
        if not daemon.socket.exists():
            return False
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(path))
            heard.append(True)
        return True

    daemon.program.command = daemon.command()
    daemon.program.start(ready)
    assert heard == [True]


def test_after_a_restart(node: CRI, daemon: Daemon, view: Path) -> None:
    """Asked in the first moment of a new criwist, before it has listed the containers, it waits and knows them."""
    pod_id, container_id = node.run_in_pod()
    daemon.kill()
    assert view.exists()
    daemon.program.start(view.exists)
    with Cadvisor(view) as cadvisor:
        eventually(lambda: _answers(cadvisor), within=10)
        assert cadvisor.labels(container_id)["io.cri-containerd.kind"] == "container"
        assert cadvisor.task(pod_id).pid


def _answers(cadvisor: Cadvisor) -> bool:
    try:
        cadvisor.version()
    except grpc.RpcError:
        return False
    return True


def test_another_process_serves_it(daemon: Daemon, view: Path, criwist_daemon: Callable[..., Daemon]) -> None:
    """A second criwist refuses a socket that another process serves."""
    second = criwist_daemon(cadvisor_socket=str(view))
    with pytest.raises(RuntimeError, match="another process serves"):
        second.start()
    assert view.exists()
