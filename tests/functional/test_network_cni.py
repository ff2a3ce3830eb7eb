"""Pods on a CNI network of Debian's plugins, and on plugins that misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.netconf.cache import read_cached
from criwist.network.attachments import Attachments
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.cni import BRIDGE, GATEWAYS, IPV4, IPV6, PodNetwork, interfaces, queueing, rules, strays
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.namespaces import NODE_ADDRESS

#: Says hello to whoever connects to port 8000, by either family.
GREETER = ("nc", "-ll", "-p", "8000", "-e", "echo", "hello")


@pytest.fixture
def network(session_root: Path, tmp_path: Path) -> Iterator[PodNetwork]:
    """A network, not configured yet."""
    network = PodNetwork(session_root / f"cni-{tmp_path.name}")
    yield network
    network.destroy()


@pytest.fixture
def daemon(network: PodNetwork, criwist_daemon: Callable[..., Daemon]) -> Daemon:
    """A criwist for pods on that network, not started yet."""
    return criwist_daemon(**network.options)


@pytest.fixture
def node(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> CRI:
    """The started criwist, on the configured network."""
    network.configure()
    daemon.start()
    return client_of(daemon)


@pytest.fixture(params=["criwist", "containerd"])
def either(request: pytest.FixtureRequest, network: PodNetwork) -> Iterator[CRI]:
    """criwist, or containerd's CRI plugin, on the configured network."""
    if request.param == "criwist":
        yield request.getfixturevalue("node")
        return
    from tests.functional.conftest import connect

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


def _greet_once(listener: socket.socket) -> None:
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
    conditions = client.runtime.Status(api.StatusRequest()).status.conditions
    return next(condition for condition in conditions if condition.type == "NetworkReady")


# -- what networks are for, on containerd as well


def test_pods_reach_each_other_and_the_host(either: CRI) -> None:
    """A pod is reached by a pod and by the host under the address in its status, and reaches the host."""
    on_network(either)
    server, server_container = either.run_in_pod(*GREETER)
    _, client = either.run_in_pod()
    address = either.pod_status(server).network.ip
    greets(address, 8000)
    assert either.output(client, "nc", "-w", "2", address, "8000") == "hello\n"
    with socket.create_server((NODE_ADDRESS, 0)) as listener:
        threading.Thread(target=_greet_once, args=(listener,), daemon=True).start()
        port = str(listener.getsockname()[1])
        assert either.output(server_container, "nc", "-w", "2", NODE_ADDRESS, port) == "hello\n"
    assert f" {address}/" in either.output(server_container, "ip", "-o", "addr", "show", "dev", "eth0")
    assert "127.0.0.1/8" in either.output(server_container, "ip", "-o", "addr", "show", "dev", "lo")


def test_host_ports(either: CRI) -> None:
    """A host port leads to the pod, at all addresses of the host or at the one asked for, and ends with the pod."""
    on_network(either)
    pod_id, _ = either.run_in_pod(
        *GREETER, pod=either.pod(port_mappings=mapping(23101) + mapping(23102, host_ip=NODE_ADDRESS))
    )
    greets(NODE_ADDRESS, 23101)
    greets("127.0.0.1", 23101)
    greets(NODE_ADDRESS, 23102)
    assert greeting("127.0.0.1", 23102) == b""
    either.stop_pod(pod_id)
    assert greeting(NODE_ADDRESS, 23101) == b""
    again, _ = either.run_in_pod(*GREETER, pod=either.pod(port_mappings=mapping(23101)))
    greets(NODE_ADDRESS, 23101)
    either.stop_pod(again)


def test_dual_stack(either: CRI, network: PodNetwork) -> None:
    """A pod with a range of each family has both addresses and is reached by both."""
    network.configure(network.plugins(ranges=(IPV4, IPV6)), file=next(network.conf_dir.glob("*crwn*")).name)

    def both() -> bool:
        pod_id = either.run_pod()
        told = either.pod_status(pod_id).network
        either.remove_pod(pod_id)
        return told.ip.startswith("10.96.") and [one.ip.startswith("fd96::") for one in told.additional_ips] == [True]

    eventually(both, within=20)
    pod_id, container_id = either.run_in_pod(*GREETER)
    told = either.pod_status(pod_id).network
    for address in (told.ip, told.additional_ips[0].ip):
        greets(address, 8000)
        assert f" {address}/" in either.output(container_id, "ip", "-o", "addr", "show", "dev", "eth0")


def test_bandwidth(either: CRI) -> None:
    """The rates in the pod's annotations are those of token buckets on its interface, and go with it."""
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


# -- what only criwist does


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
    """An SCTP host port has its rule; whether packets follow it is the kernel's affair, which may have no SCTP."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23104, protocol=api.SCTP)))
    assert any("-p sctp" in rule and "--dport 23104" in rule for rule in rules())
    node.stop_pod(pod_id)
    assert rules() == []


def test_order_of_addresses(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Addresses are told in the plugin's order, IPv6 first if it says so; containerd puts IPv4 first by itself."""
    network.configure(network.plugins(ranges=(IPV6, IPV4)))
    daemon.start()
    client = client_of(daemon)
    told = client.pod_status(client.run_pod()).network
    assert told.ip.startswith("fd96::")
    assert [one.ip.startswith("10.96.") for one in told.additional_ips] == [True]


def test_host_port_conflict(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """The second pod that wants a host port fails with a clear error and leaves nothing; the first is not harmed."""
    first, _ = node.run_in_pod(*GREETER, pod=node.pod(port_mappings=mapping(23110)))
    before = (network.left(daemon.state), engine.container_names())
    words = refused(lambda: node.run_pod(node.pod(port_mappings=mapping(23110))), grpc.StatusCode.FAILED_PRECONDITION)
    assert f"host port 23110/tcp is held by sandbox {first}" in words
    assert (network.left(daemon.state), engine.container_names()) == before
    greets(NODE_ADDRESS, 23110)
    node.stop_pod(first)
    node.run_in_pod(*GREETER, pod=node.pod(port_mappings=mapping(23110)))
    greets(NODE_ADDRESS, 23110)


def test_host_ports_are_known_after_a_restart(node: CRI, daemon: Daemon) -> None:
    """After a restart of criwist the host ports of its pods are still held, and their addresses still told."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23111)))
    told = node.pod_status(pod_id).network
    daemon.kill()
    daemon.start()
    assert node.pod_status(pod_id).network == told
    refused(lambda: node.run_pod(node.pod(port_mappings=mapping(23111))), grpc.StatusCode.FAILED_PRECONDITION)


def test_configuration_emptied_between_start_and_stop(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """A pod is released by what it was made with, also when the directory is empty and criwist was restarted."""
    one, other = (node.run_pod(node.pod(port_mappings=mapping(23120 + number))) for number in range(2))
    network.unconfigure()
    eventually(lambda: not network_ready(node).status)
    node.stop_pod(one)
    daemon.kill()
    daemon.start()
    node.stop_pod(other)
    for pod_id in (one, other):
        node.stop_pod(pod_id)
        node.remove_pod(pod_id)
    assert network.left(daemon.state) == {}


def test_configuration_changed_between_start_and_stop(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """A pod on the old network is released there when the directory names another one by then."""
    pod_id = node.run_pod()
    network.unconfigure()
    network.configure([network.script("other", "echo $CNI_COMMAND >> $HERE/calls; handed_on")])
    node.remove_pod(pod_id)
    assert network.left(daemon.state) == {}
    assert not (network.root / "calls").exists()


def test_pause_killed_before_stop(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """A pod whose pause was killed is not ready, and its network is released whole: rules, lease and interface."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23130)))
    os.kill(engine.inspect(pod_id)["State"]["Pid"], signal.SIGKILL)
    eventually(lambda: node.pod_status(pod_id).state == api.SANDBOX_NOTREADY)
    node.stop_pod(pod_id)
    node.remove_pod(pod_id)
    assert network.left(daemon.state) == {}


def test_sandbox_removed_behind_our_back(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """When somebody removed the pause with docker, the pod's network is released by its record at the next start."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23131)))
    daemon.stop()
    engine.delete(f"/containers/{pod_id}", force="1")
    assert network.left(daemon.state)
    daemon.start()
    nothing_left(network, daemon.state)


@pytest.mark.parametrize("pause", ["alive", "removed"])
def test_killed_in_the_middle_of_add(
    network: PodNetwork,
    daemon: Daemon,
    client_of: Callable[[Daemon], CRI],
    engine: Engine,
    pause: str,
) -> None:
    """A criwist killed with SIGKILL while a plugin is at work leaves a pod that can be stopped, and nothing of it."""
    sleepy = network.script(
        "sleepy", 'if [ "$CNI_COMMAND" = ADD ]; then touch $HERE/asleep; sleep 300; touch $HERE/awake; fi'
    )
    network.configure([*network.plugins(), sleepy])
    daemon.start()
    client = client_of(daemon)
    running = client.runtime.RunPodSandbox.future(
        api.RunPodSandboxRequest(config=client.pod(port_mappings=mapping(23140)))
    )
    eventually((network.root / "asleep").exists)
    daemon.kill()
    assert running.exception() is not None
    assert {"interfaces", "leases", "rules", "journal"} <= set(network.left(daemon.state))
    assert strays(f"{network.bin_dir}/sleepy")
    (sandbox,) = (one for one in engine.get("/containers/json?all=1") if "k8s_POD_" in one["Names"][0])
    if pause == "removed":
        engine.delete(f"/containers/{sandbox['Id']}", force="1")
    daemon.start()
    eventually(lambda: not strays(f"{network.bin_dir}/sleepy"), within=20)
    if pause == "alive":
        assert client.pod_status(sandbox["Id"]).state == api.SANDBOX_NOTREADY
        client.stop_pod(sandbox["Id"])
        client.remove_pod(sandbox["Id"])
    nothing_left(network, daemon.state)
    assert not (network.root / "awake").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('echo "no address left" >&2; exit 1', "no address left (exit status 1)"),
        ("exit 1", "exit status 1 without a word"),
        ("echo not json", "it printed no result: not a JSON object: not json"),
        ("head -c 1048576 /dev/zero | tr '\\\\0' x", "it printed more than 256 KiB and was killed"),
        (
            'echo \'{"cniVersion":"1.0.0","code":11,"msg":"try again later","details":"busy"}\'; exit 1',
            "try again later",
        ),
        ("kill -SEGV $$", "signal 11 without a word"),
        ("handed_on | tr -d /", "it printed no result: ips[0].address"),
    ],
    ids=["stderr", "silent", "garbage", "a-mebibyte", "error", "signal", "bad-result"],
)
def test_plugin_that_fails(
    network: PodNetwork,
    daemon: Daemon,
    client_of: Callable[[Daemon], CRI],
    engine: Engine,
    text: str,
    words: str,
) -> None:
    """A plugin that fails in ADD, in whatever way, is an error that says plugin, command and cause; nothing is left."""
    plugin = network.script("broken", f'[ "$CNI_COMMAND" = DEL ] && exit 0\n{text}')
    network.configure([*network.plugins(), plugin])
    daemon.start()
    client = client_of(daemon)
    before = engine.container_names()
    told = refused(lambda: client.run_pod(client.pod(port_mappings=mapping(23150))))
    assert "CNI plugin broken, ADD on network crwn: " in told
    assert words in told
    assert network.left(daemon.state) == {}
    assert engine.container_names() == before
    assert client.pod_ids() == []


def test_plugin_that_hangs(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """When the caller gives up on a plugin that hangs, the plugin is ended, nothing is left, and others go on."""
    hanging = network.script(
        "hanging",
        'if [ "$CNI_COMMAND" = ADD ]; then\n'
        'case "$CNI_ARGS" in *K8S_POD_NAME=hanging*) touch $HERE/asleep; sleep 300;; esac\nhanded_on\nfi',
    )
    network.configure([*network.plugins(), hanging])
    daemon.start()
    client = client_of(daemon)
    before = engine.container_names()
    call = client.runtime.RunPodSandbox.future(
        api.RunPodSandboxRequest(config=client.pod("hanging")), timeout=scaled(5)
    )
    eventually((network.root / "asleep").exists)
    started = time.monotonic()
    other = client.run_pod()
    assert time.monotonic() - started < scaled(4)
    client.remove_pod(other)
    assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    nothing_left(network, daemon.state)
    eventually(lambda: engine.container_names() == before)
    assert not strays(f"{network.bin_dir}/hanging")


def test_readiness_follows_the_directory(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]
) -> None:
    """NetworkReady follows configuration and plugins without a restart, with reasons to act on."""
    daemon.start()
    client = client_of(daemon)
    condition = network_ready(client)
    assert (condition.status, condition.reason) == (False, "NetworkPluginNotReady")
    assert f"no network configuration in {network.conf_dir}" in condition.message
    assert "no network configuration in" in refused(client.run_pod, grpc.StatusCode.UNAVAILABLE)
    client.run_pod(client.host_network_pod())  # these need none
    network.configure([*network.plugins(), {"type": "late"}])
    eventually(lambda: "CNI plugin late of network crwn" in network_ready(client).message)
    assert f"not found in {network.bin_dir}, /usr/lib/cni" in network_ready(client).message
    network.script("late", '[ "$CNI_COMMAND" = ADD ] && handed_on; exit 0')
    eventually(lambda: network_ready(client).status)
    client.run_pod()
    network.unconfigure()
    eventually(lambda: not network_ready(client).status)


def test_status_right_after_a_start(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """A criwist that has just been started does not say that a network that can serve is not ready: kubelets act."""
    slow = network.script("slow", "handed_on", first='[ "$CNI_COMMAND" = VERSION ] && sleep 3')
    network.configure([*network.plugins(), slow])
    daemon.start()
    assert network_ready(client_of(daemon)).status


def test_status_and_collection(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Plugins of 1.1.0 say by STATUS that they cannot serve, and are told by GC at start what is to stay."""
    plugin = network.script(
        "modern",
        """
case "$CNI_COMMAND" in
  ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.96.7.7/16"}]}';;
  STATUS) [ -e $HERE/down ] && { echo '{"code":50,"msg":"the controller is away"}'; exit 1; };;
  GC) echo "$CONFIG" > $HERE/new-gc && mv $HERE/new-gc $HERE/gc;;
esac
exit 0""",
    )
    network.configure([plugin], version="1.1.0")
    daemon.start()
    client = client_of(daemon)
    assert network_ready(client).status
    pod_id = client.run_pod()
    assert client.pod_status(pod_id).network.ip == "10.96.7.7"
    (network.root / "down").touch()
    eventually(lambda: "the controller is away (code 50)" in network_ready(client).message, within=20)
    (network.root / "down").unlink()
    eventually(lambda: network_ready(client).status, within=20)
    assert json.loads((network.root / "gc").read_text())["cni.dev/valid-attachments"] == []
    daemon.stop()
    daemon.start()
    eventually(lambda: pod_id in (network.root / "gc").read_text())
    told = json.loads((network.root / "gc").read_text())
    assert told["cni.dev/valid-attachments"] == [{"containerID": pod_id, "ifname": "eth0"}]


def test_record_of_what_was_used(node: CRI, network: PodNetwork) -> None:
    """The cache file is what libcni's users expect, and the verbose status shows configuration and plugins."""
    pod_id = node.run_pod(node.pod("web", port_mappings=mapping(23160)))
    cached = read_cached((network.cache / "results" / f"crwn-{pod_id}-eth0").read_bytes())
    assert ("K8S_POD_NAME", "web") in cached.attachment.arguments
    assert cached.attachment.capability_arguments["portMappings"][0]["hostPort"] == 23160
    assert cached.result is not None
    assert cached.result["ips"][0]["address"].startswith(node.pod_status(pod_id).network.ip)
    info = node.runtime.Status(api.StatusRequest(verbose=True)).info
    assert "10-crwn.conflist" in json.dumps(dict(info))


def test_cache_of_another_runtime(either: CRI, tmp_path: Path) -> None:
    """What a runtime on libcni leaves in its cache tells us all that DEL needs; and ours is found the same way."""
    on_network(either)
    pod_id = either.run_pod()
    address = either.pod_status(pod_id).network.ip
    directories = ["/var/lib/cni"] if either.name == "containerd" else list(_caches(pod_id))
    entry = next(filter(None, (Attachments(str(tmp_path), one).cached(pod_id, None) for one in directories)))
    assert entry.addresses == (address,)
    assert [plugin.type for plugin in entry.network.plugins] == ["bridge", "portmap", "firewall", "bandwidth"]
    assert ("K8S_POD_INFRA_CONTAINER_ID", pod_id) in entry.attachment.arguments


def _caches(pod_id: str) -> Iterator[str]:
    """Cache directories below the session's directory that know a pod."""
    for path in Path("/var/tmp").glob(f"criwist-tests-{os.getpid()}/*/cache/results/*-{pod_id}-eth0"):
        yield str(path.parents[1])


def test_adoption(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """A pod that only libcni's cache knows of, as cri-dockerd leaves it, keeps its address and is released whole."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23161)))
    told = node.pod_status(pod_id).network
    daemon.stop()
    for directory in (daemon.state / "sandboxes", daemon.state / "network" / "cni"):
        (directory / f"{pod_id}.json").unlink()
    network.unconfigure()
    daemon.start()
    assert node.pod_status(pod_id).state == api.SANDBOX_READY
    assert node.pod_status(pod_id).network == told
    node.stop_pod(pod_id)
    node.remove_pod(pod_id)
    left = network.left(daemon.state)
    left.pop("pins", None)  # an older shim made none
    assert left == {}
    subprocess.run(["umount", f"/run/netns/criwist-{pod_id}"], check=False, capture_output=True)
    Path(f"/run/netns/criwist-{pod_id}").unlink(missing_ok=True)


def test_namespace_is_held_while_the_pod_stands(node: CRI, engine: Engine) -> None:
    """Plugins are given a path below /run/netns, where it can be looked at with ``ip netns``; it goes with the pod."""
    pod_id = node.run_pod()
    pin = Path(f"/run/netns/criwist-{pod_id}")
    assert pin.stat().st_ino == os.stat(f"/proc/{engine.inspect(pod_id)['State']['Pid']}/ns/net").st_ino
    listed = subprocess.run(["ip", "netns", "exec", pin.name, "ip", "addr"], capture_output=True, text=True)
    assert node.pod_status(pod_id).network.ip in listed.stdout
    node.stop_pod(pod_id)
    assert not pin.exists()


def test_kubenet(
    network: PodNetwork, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """kubenet waits for a CIDR, runs its own list on it, keeps it over a restart, and releases all."""
    daemon = criwist_daemon(**network.options | {"network_plugin": "kubenet", "network_plugin_mtu": "1400"})
    daemon.start()
    client = client_of(daemon)
    assert "pod CIDR" in network_ready(client).message
    network_config = api.NetworkConfig(pod_cidr="10.95.0.0/24,fd95::/64")
    client.runtime.UpdateRuntimeConfig(
        api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network_config))
    )
    assert network_ready(client).status
    daemon.kill()
    daemon.start()
    assert network_ready(client).status
    pod_id, container_id = client.run_in_pod(*GREETER, pod=client.pod(port_mappings=mapping(23170)))
    told = client.pod_status(pod_id).network
    assert told.ip.startswith("10.95.0.")
    assert [one.ip.startswith("fd95::") for one in told.additional_ips] == [True]
    assert "mtu 1400" in client.output(container_id, "ip", "link", "show", "eth0")
    greets(told.ip, 8000)
    greets(NODE_ADDRESS, 23170)
    client.remove_pod(pod_id)
    assert interfaces("cbr0") == []
    assert network.left() == {}
    assert not list((daemon.state / "network" / "kubenet").iterdir())
    subprocess.run(["ip", "link", "del", "cbr0"], check=False, capture_output=True)


def test_bridge_host_port_conflict(cri: CRI, engine: Engine) -> None:
    """On Docker's bridge too the second pod that wants a host port fails clearly and leaves nothing."""
    cri.run_in_pod(*GREETER, pod=cri.pod(port_mappings=mapping(23180)))
    greets(NODE_ADDRESS, 23180)
    before = engine.container_names()
    words = refused(lambda: cri.run_pod(cri.pod(port_mappings=mapping(23180))))
    assert "23180" in words
    assert "already allocated" in words
    assert engine.container_names() == before


def test_gateway_is_reached(node: CRI) -> None:
    """The default route of a pod leads to the bridge."""
    _, container_id = node.run_in_pod()
    assert f"default via {GATEWAYS[0]}" in node.output(container_id, "ip", "route")
