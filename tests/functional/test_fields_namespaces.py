"""Namespaces: hostname, IPC, user namespaces, and engines that remap users.

The tests of namespaces that the containers of a pod share are in ``test_container_namespaces``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.inside import run


def namespace(cri: CRI, container_id: str, kind: str) -> str:
    """Return the namespace of the container's first process."""
    return cri.output(container_id, "readlink", f"/proc/1/ns/{kind}").strip()


@pytest.mark.second_opinion
def test_hostname_of_the_node(cri: CRI) -> None:
    """A pod on the node's network without a hostname has the node's name and UTS namespace."""
    pod = cri.host_network_pod()
    pod.hostname = ""
    container_id = run(cri, cri.container(), pod)
    assert namespace(cri, container_id, "uts") == os.readlink("/proc/self/ns/uts")
    assert cri.output(container_id, "hostname").strip() == os.uname().nodename


def test_hostname_on_the_nodes_network(cri: CRI) -> None:
    """A pod on the node's network can have a hostname of its own; containerd 1.6 ignores it."""
    pod = cri.host_network_pod()
    pod.hostname = "of-its-own"
    container_id = run(cri, cri.container(), pod)
    assert cri.output(container_id, "hostname") == "of-its-own\n"
    assert namespace(cri, container_id, "net") == os.readlink("/proc/self/ns/net")
    assert os.uname().nodename != "of-its-own"


@pytest.mark.second_opinion
def test_ipc_of_the_node(cri: CRI) -> None:
    """With ipc NODE the containers are in the host's IPC namespace and see its /dev/shm."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.ipc = api.NODE
    config = cri.container()
    config.linux.security_context.namespace_options.ipc = api.NODE
    marker = Path(f"/dev/shm/criwist-tests-{os.getpid()}")
    marker.touch()
    try:
        container_id = run(cri, config, pod)
        assert namespace(cri, container_id, "ipc") == os.readlink("/proc/self/ns/ipc")
        assert cri.execute(container_id, "test", "-e", str(marker)).exit_code == 0
    finally:
        marker.unlink()


@pytest.mark.second_opinion
def test_shared_memory_is_64_mib(cri: CRI) -> None:
    """The pod's /dev/shm has the size that earlier shims gave it."""
    container_id = run(cri, cri.container())
    assert "65536" in cri.output(container_id, "df", "-k", "/dev/shm").split()


@pytest.mark.parametrize("name", ["network", "ipc"])
def test_container_disagrees_with_its_sandbox(cri: CRI, name: str) -> None:
    """A container with mode NODE in a pod without it is refused; containerd ignores the mode."""
    config, pod = cri.container(), cri.pod()
    setattr(config.linux.security_context.namespace_options, name, api.NODE)
    request = api.CreateContainerRequest(pod_sandbox_id=cri.run_pod(pod), config=config, sandbox_config=pod)
    text = refused(lambda: cri.runtime.CreateContainer(request), grpc.StatusCode.INVALID_ARGUMENT)
    assert f"config.linux.security_context.namespace_options.{name}" in text


def test_user_namespace_is_refused(cri: CRI) -> None:
    """A user namespace of the pod's own is refused, for sandbox and container; the text names the field to set."""
    pod = cri.pod()
    own = api.UserNamespace(mode=api.POD, uids=[api.IDMapping(host_id=100000, container_id=0, length=65536)])
    pod.linux.security_context.namespace_options.userns_options.CopyFrom(own)
    assert "hostUsers" in refused(lambda: cri.run_pod(pod), grpc.StatusCode.UNIMPLEMENTED)
    config = cri.container()
    config.linux.security_context.namespace_options.userns_options.CopyFrom(own)
    assert "hostUsers" in refused(lambda: run(cri, config), grpc.StatusCode.UNIMPLEMENTED)


def test_user_namespaces_are_not_announced(cri: CRI) -> None:
    """No handler in Status reports the feature of user namespaces."""
    handlers = cri.runtime.Status(api.StatusRequest()).runtime_handlers
    assert handlers
    assert not [handler.name for handler in handlers if handler.features.user_namespaces]


@pytest.mark.second_opinion
def test_user_namespace_of_the_node(cri: CRI) -> None:
    """A pod has the node's user namespace, which kubelet requests for all pods without one of their own."""
    pod = cri.pod()
    config = cri.container()
    for one in (pod, config):
        one.linux.security_context.namespace_options.userns_options.mode = api.NODE
    assert namespace(cri, run(cri, config, pod), "user") == os.readlink("/proc/self/ns/user")


# -- an engine with userns-remap


@pytest.fixture(scope="module")
def remapping_engine(engine_factory: Callable[..., Engine], tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine that maps the root of its containers to uid 500000 by default."""
    directory = tmp_path_factory.mktemp("subordinate")
    for name in ("subuid", "subgid"):
        (directory / name).write_text("daemon:500000:65536\n")
        # The mount is in the session's own mount namespace alone.
        Path("/etc", name).touch()
        subprocess.run(["mount", "--bind", directory / name, f"/etc/{name}"], check=True)
    engine = engine_factory(flags=["--userns-remap=daemon"])
    engine.start()
    images.load_all(engine)
    return engine


@pytest.fixture
def remapped(
    remapping_engine: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> CRI:
    """A criwist on that engine."""
    daemon = criwist_daemon(engine=remapping_engine)
    daemon.start()
    return client_of(daemon)


def uid_of_root(cri: CRI, container_id: str) -> int:
    """Return the host's uid of the container's root."""
    return int(cri.output(container_id, "cat", "/proc/1/uid_map").split()[1])


def test_pod_on_a_remapping_engine(remapped: CRI) -> None:
    """A pod runs in the user namespace that the engine has for all containers."""
    container_id = run(remapped, remapped.container())
    assert uid_of_root(remapped, container_id) == 500000
    assert remapped.status(container_id).user.linux.uid == 0


@pytest.mark.parametrize("name", ["network", "pid", "ipc"])
def test_host_namespaces_on_a_remapping_engine(remapped: CRI, name: str) -> None:
    """A pod with a namespace of the host runs outside the engine's user namespace."""
    pod, config = remapped.pod(), remapped.container()
    pod.hostname = ""
    for one in (pod, config):
        setattr(one.linux.security_context.namespace_options, name, api.NODE)
    container_id = run(remapped, config, pod)
    kind = {"network": "net"}.get(name, name)
    assert remapped.output(container_id, "readlink", f"/proc/self/ns/{kind}").strip() == os.readlink(
        f"/proc/self/ns/{kind}"
    )
    assert uid_of_root(remapped, container_id) == 0
