"""The release of pods' networks when pods, criwist, plugins or the machine end, and the cache of other runtimes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.network.attachments import Attachments
from tests.functional.pod_networks import (
    GREETER,
    greets,
    mapping,
    network_ready,
    nothing_left,
    on_network,
)
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.cni import (
    NAME,
    PodNetwork,
    strays,
)
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.namespaces import NODE_ADDRESS


def test_configuration_emptied_between_start_and_stop(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """A pod is released with the configuration of its ADD, even if the directory is empty and criwist was restarted."""
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
    """A pod on the old network is released there after the directory has another network."""
    pod_id = node.run_pod()
    network.unconfigure()
    network.configure([network.script("other", "echo $CNI_COMMAND >> $HERE/calls; handed_on")])
    node.remove_pod(pod_id)
    assert network.left(daemon.state) == {}
    assert not (network.root / "calls").exists()


def test_pause_killed_before_stop(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """A pod whose pause was killed is not ready, and its network is released completely: rules, lease, interface."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23130)))
    os.kill(engine.inspect(pod_id)["State"]["Pid"], signal.SIGKILL)
    eventually(lambda: node.pod_status(pod_id).state == api.SANDBOX_NOTREADY)
    node.stop_pod(pod_id)
    node.remove_pod(pod_id)
    assert network.left(daemon.state) == {}


def test_sandbox_removed_with_docker(node: CRI, network: PodNetwork, daemon: Daemon, engine: Engine) -> None:
    """When the pause was removed with docker, the next start releases the pod's network by its record."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23131)))
    daemon.stop()
    engine.delete(f"/containers/{pod_id}", force="1")
    assert network.left(daemon.state)
    daemon.start()
    nothing_left(network, daemon.state)


def test_host_port_of_a_pod_from_before_a_reboot(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """A pod whose namespace is gone, as after a reboot, blocks no host port for other pods, and can be removed."""
    bridge, *others = network.plugins()
    bridge["ipMasq"] = False  # Debian's plugin leaves these rules if the namespace is gone; a reboot does not
    network.configure([bridge, *others])
    daemon.start()
    client = client_of(daemon)
    old, _ = client.run_in_pod(*GREETER, pod=client.pod(port_mappings=mapping(23132)))
    daemon.kill()
    os.kill(engine.inspect(old)["State"]["Pid"], signal.SIGKILL)
    subprocess.run(["umount", f"/run/netns/criwist-{old}"], check=True)
    daemon.start()
    eventually(lambda: client.pod_status(old).state == api.SANDBOX_NOTREADY)
    new, _ = client.run_in_pod(*GREETER, pod=client.pod(port_mappings=mapping(23132)))
    greets(NODE_ADDRESS, 23132)
    client.remove_pod(old)
    greets(NODE_ADDRESS, 23132)
    client.remove_pod(new)
    assert network.left(daemon.state) == {}


@pytest.mark.parametrize("pause", ["alive", "removed"])
def test_killed_in_the_middle_of_add(
    network: PodNetwork,
    daemon: Daemon,
    client_of: Callable[[Daemon], CRI],
    engine: Engine,
    pause: str,
) -> None:
    """After SIGKILL to criwist while a plugin runs, the pod can be stopped, and nothing is left."""
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


def test_cache_of_another_runtime(either: CRI, tmp_path: Path, session_root: Path) -> None:
    """The cache of a runtime on libcni has all that DEL needs; criwist's own has the same format."""
    on_network(either)
    pod_id = either.run_pod(either.pod(port_mappings=mapping(23162)))
    address = either.pod_status(pod_id).network.ip
    directories = ["/var/lib/cni"] if either.name == "containerd" else list(_caches(session_root, pod_id))
    entry = next(filter(None, (Attachments(str(tmp_path), one).find_in_cache(pod_id, None) for one in directories)))
    assert entry.addresses == (address,)
    assert [plugin.type for plugin in entry.network.plugins] == ["bridge", "portmap", "firewall", "bandwidth"]
    assert ("K8S_POD_INFRA_CONTAINER_ID", pod_id) in entry.attachment.arguments
    document = json.loads(_cached(directories, pod_id))
    document.setdefault("netns", "")  # newer than Debian's containerd
    assert {key: type(value) for key, value in document.items()} == {
        "kind": str,
        "containerId": str,
        "config": str,
        "ifName": str,
        "networkName": str,
        "netns": str,
        "cniArgs": list,
        "capabilityArgs": dict,
        "result": dict,
    }
    assert (document["kind"], document["result"]["cniVersion"]) == ("cniCacheV1", "1.0.0")
    assert json.loads(base64.b64decode(document["config"]))["name"] == NAME
    assert dict(document["cniArgs"])["K8S_POD_INFRA_CONTAINER_ID"] == pod_id


def _caches(session_root: Path, pod_id: str) -> Iterator[str]:
    """Return the cache directories below the session's directory that have an entry of a pod."""
    for path in session_root.glob(f"*/cache/results/*-{pod_id}-eth0"):
        yield str(path.parents[1])


def _cached(directories: list[str], pod_id: str) -> str:
    """Return the content of a pod's only cache file."""
    (path,) = (path for one in directories for path in Path(one).glob(f"results/*-{pod_id}-eth0"))
    return path.read_text()


def test_adoption(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """A pod that is only in libcni's cache, as cri-dockerd leaves it, keeps its address and is released completely."""
    pod_id = node.run_pod(node.pod(port_mappings=mapping(23161)))
    status = node.pod_status(pod_id).network
    daemon.stop()
    for directory in (daemon.state / "sandboxes", daemon.state / "network" / "cni"):
        (directory / f"{pod_id}.json").unlink()
    network.unconfigure()
    daemon.start()
    assert node.pod_status(pod_id).state == api.SANDBOX_READY
    assert node.pod_status(pod_id).network == status
    node.stop_pod(pod_id)
    node.remove_pod(pod_id)
    left = network.left(daemon.state)
    left.pop("pins", None)  # an older shim creates none
    assert left == {}
    subprocess.run(["umount", f"/run/netns/criwist-{pod_id}"], check=False, capture_output=True)
    Path(f"/run/netns/criwist-{pod_id}").unlink(missing_ok=True)
