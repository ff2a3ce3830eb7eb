"""Fixtures of pod networks and of runtimes on them, and checks that tests share.  conftest.py imports the fixtures."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.cni import PodNetwork
from tests.harness.daemon import Daemon
from tests.harness.namespaces import NODE_ADDRESS

#: A server that writes hello to each connection to port 8000, of either family.
GREETER = ("nc", "-ll", "-p", "8000", "-e", "echo", "hello")


@pytest.fixture(name="network")
def pod_network(session_root: Path, tmp_path: Path) -> Iterator[PodNetwork]:
    """A network, not configured yet."""
    network = PodNetwork(session_root / f"cni-{tmp_path.name}")
    yield network
    network.destroy()


@pytest.fixture(name="daemon")
def cni_daemon(network: PodNetwork, criwist_daemon: Callable[..., Daemon]) -> Daemon:
    """A criwist with that network, not started yet."""
    return criwist_daemon(**network.options)


@pytest.fixture(name="node")
def cni_node(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> CRI:
    """The started criwist, on the configured network."""
    network.configure()
    daemon.start()
    return client_of(daemon)


@pytest.fixture(name="either", params=["criwist", "containerd"])
def either_runtime(request: pytest.FixtureRequest, network: PodNetwork) -> Iterator[CRI]:
    """criwist, or containerd's CRI plugin, on the configured network."""
    if request.param == "criwist":
        yield request.getfixturevalue("node")
        return
    from tests.functional.conftest import connect  # it imports this module

    containerd = request.getfixturevalue("containerd_cri")
    client = connect(request, "containerd", request.getfixturevalue("session_root"))
    network.conf_dir = containerd.cni_conf_dir
    network.configure(file="00-crwn.conflist")
    yield client
    client.clean()
    client.close()
    (containerd.cni_conf_dir / "00-crwn.conflist").unlink()


def greeting(address: str, port: int) -> bytes:
    """Return what a greeter writes, empty if there is none."""
    try:
        with socket.create_connection((address, port), timeout=scaled(2)) as connection:
            return connection.recv(100)
    except OSError:
        return b""


def nothing_left(network: PodNetwork, state: Path | None) -> None:
    """Wait until no resource of a pod is left."""

    def check() -> bool:
        left = network.left(state)
        assert left == {}
        return True

    eventually(check, within=20)


def greet_once(listener: socket.socket) -> None:
    """Serve one connection as a greeter."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"hello\n")


def greets(address: str, port: int) -> None:
    """Wait until a greeter answers there."""
    eventually(lambda: greeting(address, port) == b"hello\n", what=f"a greeting from {address} port {port}")


def on_network(client: CRI) -> None:
    """Wait until new pods are on the network of this test: containerd reads a changed configuration after a while."""

    def first() -> bool:
        pod_id = client.run_pod()
        address = client.pod_status(pod_id).network.ip
        client.remove_pod(pod_id)
        return address.startswith("10.96.")

    eventually(first, within=20)


def mapping(host_port: int, **fields: Any) -> list[api.PortMapping]:
    """Return a host port that leads to a greeter."""
    return [api.PortMapping(container_port=8000, host_port=host_port, **fields)]


def network_ready(client: CRI) -> api.RuntimeCondition:
    """Return the condition NetworkReady."""
    response: api.StatusResponse = client.runtime.Status(api.StatusRequest())
    conditions = response.status.conditions
    return next(condition for condition in conditions if condition.type == "NetworkReady")


def host_ports_lead_to_pods(client: CRI) -> None:
    """Check that a host port leads to the pod, at all host addresses or the requested one, and ends with the pod."""
    pod_id, _ = client.run_in_pod(
        *GREETER, pod=client.pod(port_mappings=mapping(23101) + mapping(23102, host_ip=NODE_ADDRESS))
    )
    greets(NODE_ADDRESS, 23101)
    greets("127.0.0.1", 23101)
    greets(NODE_ADDRESS, 23102)
    assert greeting("127.0.0.1", 23102) == b""
    client.stop_pod(pod_id)
    assert greeting(NODE_ADDRESS, 23101) == b""
    again, _ = client.run_in_pod(*GREETER, pod=client.pod(port_mappings=mapping(23101)))
    greets(NODE_ADDRESS, 23101)
    client.stop_pod(again)
