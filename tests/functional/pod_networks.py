"""Networks for pods, runtimes on them, and what tests ask of both.  conftest.py makes fixtures of the first ones."""

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

#: Says hello to whoever connects to port 8000, by either family.
GREETER = ("nc", "-ll", "-p", "8000", "-e", "echo", "hello")


@pytest.fixture(name="network")
def pod_network(session_root: Path, tmp_path: Path) -> Iterator[PodNetwork]:
    """A network, not configured yet."""
    network = PodNetwork(session_root / f"cni-{tmp_path.name}")
    yield network
    network.destroy()


@pytest.fixture(name="daemon")
def cni_daemon(network: PodNetwork, criwist_daemon: Callable[..., Daemon]) -> Daemon:
    """A criwist for pods on that network, not started yet."""
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
    from tests.functional.conftest import connect  # it imports us

    containerd = request.getfixturevalue("containerd_cri")
    client = connect(request, "containerd", request.getfixturevalue("session_root"))
    network.conf_dir = containerd.cni_conf_dir
    network.configure(file="00-crwn.conflist")
    yield client
    client.clean()
    client.close()
    (containerd.cni_conf_dir / "00-crwn.conflist").unlink()


def greeting(address: str, port: int) -> bytes:
    """What a greeter answers; empty if nothing answers."""
    try:
        with socket.create_connection((address, port), timeout=scaled(2)) as connection:
            return connection.recv(100)
    except OSError:
        return b""


def nothing_left(network: PodNetwork, state: Path | None) -> None:
    """Wait until nothing of pods is left."""

    def look() -> bool:
        left = network.left(state)
        assert left == {}
        return True

    eventually(look, within=20)


def greet_once(listener: socket.socket) -> None:
    """Be a greeter for one connection."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"hello\n")


def greets(address: str, port: int) -> None:
    """Wait until a greeter answers there."""
    eventually(lambda: greeting(address, port) == b"hello\n", what=f"a greeting from {address} port {port}")


def on_network(client: CRI) -> None:
    """Wait until new pods are on the network of this test: containerd takes a changed configuration in its own time."""

    def first() -> bool:
        pod_id = client.run_pod()
        address = client.pod_status(pod_id).network.ip
        client.remove_pod(pod_id)
        return address.startswith("10.96.")

    eventually(first, within=20)


def mapping(host_port: int, **fields: Any) -> list[api.PortMapping]:
    """A host port that leads to a greeter."""
    return [api.PortMapping(container_port=8000, host_port=host_port, **fields)]


def network_ready(client: CRI) -> api.RuntimeCondition:
    """The condition NetworkReady."""
    response: api.StatusResponse = client.runtime.Status(api.StatusRequest())
    conditions = response.status.conditions
    return next(condition for condition in conditions if condition.type == "NetworkReady")


def host_ports_lead_to_pods(client: CRI) -> None:
    """A host port leads to the pod, at all addresses of the host or at the one asked for, and ends with the pod."""
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
