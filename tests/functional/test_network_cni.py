"""Pods on a CNI network of Debian's plugins."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.pod_networks import (
    GREETER,
    greet_once,
    greeting,
    greets,
    host_ports_lead_to_pods,
    mapping,
    nothing_left,
    on_network,
)
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.cni import (
    BRIDGE,
    GATEWAYS,
    IPV4,
    IPV6,
    PodNetwork,
    interfaces,
    queueing,
    rules,
)
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.namespaces import NODE_ADDRESS

# -- on criwist and on containerd


def test_pods_reach_each_other_and_the_host(either: CRI) -> None:
    """A pod and the host reach a pod at the address in its status, and a pod reaches the host."""
    on_network(either)
    server, server_container = either.run_in_pod(*GREETER)
    _, client = either.run_in_pod()
    address = either.pod_status(server).network.ip
    greets(address, 8000)
    assert either.output(client, "nc", "-w", "2", address, "8000") == "hello\n"
    with socket.create_server((NODE_ADDRESS, 0)) as listener:
        threading.Thread(target=greet_once, args=(listener,), daemon=True).start()
        port = str(listener.getsockname()[1])
        assert either.output(server_container, "nc", "-w", "2", NODE_ADDRESS, port) == "hello\n"
    assert f" {address}/" in either.output(server_container, "ip", "-o", "addr", "show", "dev", "eth0")
    assert "127.0.0.1/8" in either.output(server_container, "ip", "-o", "addr", "show", "dev", "lo")


def test_host_ports(either: CRI) -> None:
    """A host port leads to the pod, at all host addresses or the requested one, and ends with the pod."""
    on_network(either)
    host_ports_lead_to_pods(either)


def test_host_port_that_the_node_listens_on(either: CRI) -> None:
    """A pod's host port hides a program of the node that listens on it, as long as the pod exists."""
    on_network(either)
    with socket.create_server((NODE_ADDRESS, 23106)) as listener:
        threading.Thread(target=_answer_all, args=(listener,), daemon=True).start()
        assert greeting(NODE_ADDRESS, 23106) == b"node\n"
        pod_id, _ = either.run_in_pod(*GREETER, pod=either.pod(port_mappings=mapping(23106)))
        greets(NODE_ADDRESS, 23106)
        either.stop_pod(pod_id)
        assert greeting(NODE_ADDRESS, 23106) == b"node\n"
        listener.shutdown(socket.SHUT_RDWR)  # the thread keeps it open otherwise


def _answer_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"node\n")


def test_dual_stack(either: CRI, network: PodNetwork) -> None:
    """A pod with a range of each family has both addresses and is reachable at both, and at its host port by both."""
    network.configure(network.plugins(ranges=(IPV4, IPV6)), file=next(network.conf_dir.glob("*crwn*")).name)

    def both() -> bool:
        pod_id = either.run_pod()
        status = either.pod_status(pod_id).network
        either.remove_pod(pod_id)
        others = [one.ip.startswith("fd96::") for one in status.additional_ips]
        return status.ip.startswith("10.96.") and others == [True]

    eventually(both, within=20)
    pod_id, container_id = either.run_in_pod(*GREETER, pod=either.pod(port_mappings=mapping(23105)))
    status = either.pod_status(pod_id).network
    for gateway in GATEWAYS:
        greets(gateway, 23105)
    for address in (status.ip, status.additional_ips[0].ip):
        greets(address, 8000)
        assert f" {address}/" in either.output(container_id, "ip", "-o", "addr", "show", "dev", "eth0")


def test_bandwidth(either: CRI) -> None:
    """Token buckets on the pod's interface have the rates in its annotations, and are removed with the pod."""
    on_network(either)
    pod = either.pod(annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "20M"})
    pod_id = either.run_pod(pod)
    shaped = " ".join(queueing(interface) for interface in interfaces(BRIDGE))
    assert "rate 10Mbit" in shaped
    assert "rate 20Mbit" in shaped
    either.remove_pod(pod_id)
    eventually(lambda: not interfaces(BRIDGE))


def test_forty_pods_leave_nothing(either: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """Forty pods, four at a time, each with a host port: no interface, lease, rule, cache file or record is left."""
    on_network(either)
    state = daemon.state if either.name == "criwist" else None
    rates = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "10M"}
    addresses: list[str] = []
    lock = threading.Lock()

    def live(number: int) -> None:
        config = either.pod(port_mappings=mapping(24000 + number), annotations=rates if number % 4 == 0 else {})
        pod_id = either.run_pod(config)
        address = either.pod_status(pod_id).network.ip
        with lock:
            addresses.append(address)
        either.stop_pod(pod_id)
        either.remove_pod(pod_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, range(40)))
    assert len(addresses) == 40
    assert all(address.startswith("10.96.") for address in addresses)
    nothing_left(network, state)


# -- on criwist only


def test_udp_host_port(node: CRI) -> None:
    """A UDP host port leads to the pod."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23103, protocol=api.UDP)))
    echo = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 8000)); s.sendto(*s.recvfrom(9))"
    # busybox has no program for it, so the server is the machine's, in the pod's namespace.
    server = subprocess.Popen(["ip", "netns", "exec", f"criwist-{pod_id}", "python3", "-c", echo])

    def answer() -> bool:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(scaled(0.5))
            client.connect((NODE_ADDRESS, 23103))
            with contextlib.suppress(OSError):
                client.send(b"hello")
                return client.recv(100) == b"hello"
        return False

    try:
        eventually(answer)
    finally:
        server.kill()
        server.wait()


def test_sctp_host_port(node: CRI) -> None:
    """An SCTP host port has its rule; packets are not tested, since the kernel may have no SCTP."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23104, protocol=api.SCTP)))
    assert any("-p sctp" in rule and "--dport 23104" in rule for rule in rules())
    node.stop_pod(pod_id)
    assert rules() == []


def test_order_of_addresses(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Addresses are in the plugin's order, even with IPv6 first; containerd always puts IPv4 first."""
    network.configure(network.plugins(ranges=(IPV6, IPV4)))
    daemon.start()
    client = client_of(daemon)
    status = client.pod_status(client.run_pod()).network
    assert status.ip.startswith("fd96::")
    assert [one.ip.startswith("10.96.") for one in status.additional_ips] == [True]


def test_host_port_conflict(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """The second pod with a host port fails with a clear error and leaves nothing; the first pod keeps working."""
    first, _ = node.run_in_pod(*GREETER, pod=node.pod(port_mappings=mapping(23110)))
    before = (network.left(daemon.state), engine.container_names())
    error = refused(lambda: node.run_pod(node.pod(port_mappings=mapping(23110))), grpc.StatusCode.FAILED_PRECONDITION)
    assert f"host port 23110/tcp is held by sandbox {first}" in error
    assert (network.left(daemon.state), engine.container_names()) == before
    greets(NODE_ADDRESS, 23110)
    node.stop_pod(first)
    node.run_in_pod(*GREETER, pod=node.pod(port_mappings=mapping(23110)))
    greets(NODE_ADDRESS, 23110)


def test_race_for_a_host_port(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """Of pods that ask for one host port at the same time one gets it; the others fail clearly and leave nothing."""
    wanted = [api.RunPodSandboxRequest(config=node.pod(port_mappings=mapping(23112))) for _ in range(4)]
    calls = [node.runtime.RunPodSandbox.future(request) for request in wanted]
    failed = [call.exception() for call in calls if call.exception() is not None]
    assert [error.code() for error in failed] == [grpc.StatusCode.FAILED_PRECONDITION] * 3
    (winner,) = node.pod_ids()
    assert all(f"host port 23112/tcp is held by sandbox {winner}" in error.details() for error in failed)
    node.remove_pod(winner)
    assert network.left(daemon.state) == {}


def test_host_ports_are_known_after_a_restart(node: CRI, daemon: Daemon) -> None:
    """After a restart of criwist its pods keep their host ports, and their status has the same addresses."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23111)))
    status = node.pod_status(pod_id).network
    daemon.kill()
    daemon.start()
    assert node.pod_status(pod_id).network == status
    refused(lambda: node.run_pod(node.pod(port_mappings=mapping(23111))), grpc.StatusCode.FAILED_PRECONDITION)


def test_namespace_is_mounted_while_the_pod_exists(node: CRI, engine: Engine) -> None:
    """Plugins get a path below /run/netns, which ``ip netns`` can use; it is removed with the pod."""
    pod_id = node.run_pod()
    pin = Path(f"/run/netns/criwist-{pod_id}")
    assert pin.stat().st_ino == os.stat(f"/proc/{engine.inspect(pod_id)['State']['Pid']}/ns/net").st_ino
    listed = subprocess.run(["ip", "netns", "exec", pin.name, "ip", "addr"], capture_output=True, text=True)
    assert node.pod_status(pod_id).network.ip in listed.stdout
    node.stop_pod(pod_id)
    assert not pin.exists()


def test_gateway_is_reached(node: CRI) -> None:
    """The default route of a pod leads to the bridge."""
    _, container_id = node.run_in_pod()
    assert f"default via {GATEWAYS[0]}" in node.output(container_id, "ip", "route")
