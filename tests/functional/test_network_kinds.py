"""The networks other than cni: kubenet and Docker's bridge."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.pod_networks import (
    GREETER,
    greets,
    host_ports_lead_to_pods,
    mapping,
    network_ready,
)
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.cni import (
    PodNetwork,
    interfaces,
)
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.namespaces import NODE_ADDRESS


@pytest.mark.parametrize("hairpin", ["hairpin-veth", "promiscuous-bridge"])
def test_kubenet(
    network: PodNetwork, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], hairpin: str
) -> None:
    """kubenet waits for a CIDR, runs its own list with it, keeps it over a restart, and releases everything.

    A pod reaches itself by its host port in either hairpin mode.
    """
    options = {"network_plugin": "kubenet", "network_plugin_mtu": "1400", "hairpin_mode": hairpin}
    daemon = criwist_daemon(**network.options | options)
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
    status = client.pod_status(pod_id).network
    assert status.ip.startswith("10.95.0.")
    assert [one.ip.startswith("fd95::") for one in status.additional_ips] == [True]
    assert "mtu 1400" in client.output(container_id, "ip", "link", "show", "eth0")
    greets(status.ip, 8000)
    greets(NODE_ADDRESS, 23170)
    assert client.output(container_id, "nc", "-w", "2", NODE_ADDRESS, "23170") == "hello\n"
    client.remove_pod(pod_id)
    assert interfaces("cbr0") == []
    assert network.left() == {}
    assert not list((daemon.state / "network" / "kubenet").iterdir())
    subprocess.run(["ip", "link", "del", "cbr0"], check=False, capture_output=True)


def test_bridge_host_ports(cri: CRI) -> None:
    """On Docker's bridge a host port leads to the pod at the requested addresses, and ends with the pod."""
    host_ports_lead_to_pods(cri)


def test_bridge_dual_stack(
    engine_factory: Callable[..., Engine], criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """On a bridge of both families a pod has both addresses, also after a restart, and is reachable at both."""
    engine = engine_factory(flags=["--ipv6", "--fixed-cidr-v6", "fd97::/64"])
    engine.start()
    try:
        images.load_all(engine)
        daemon = criwist_daemon(engine=engine)
        daemon.start()
        client = client_of(daemon)
        pod_id, _ = client.run_in_pod(*GREETER)
        status = client.pod_status(pod_id).network
        assert [one.ip.startswith("fd97::") for one in status.additional_ips] == [True]
        for address in (status.ip, status.additional_ips[0].ip):
            greets(address, 8000)
        daemon.kill()
        daemon.start()
        assert client.pod_status(pod_id).network == status
        client.remove_pod(pod_id)
        daemon.stop()
    finally:
        engine.destroy()


def test_bridge_host_port_conflict(cri: CRI, engine: Engine) -> None:
    """On Docker's bridge too the second pod with a host port fails clearly and leaves nothing."""
    cri.run_in_pod(*GREETER, pod=cri.pod(port_mappings=mapping(23180)))
    greets(NODE_ADDRESS, 23180)
    before = engine.container_names()
    error = refused(lambda: cri.run_pod(cri.pod(port_mappings=mapping(23180))))
    assert "23180" in error
    assert "already allocated" in error
    assert engine.container_names() == before
