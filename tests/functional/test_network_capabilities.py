"""Runtime arguments of pods and nodes, and their effect on pods with Debian's plugins."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from criwist.api.runtime.v1 import api_pb2 as api
from tests.functional.pod_networks import network_ready
from tests.harness.client import CRI, refused
from tests.harness.cni import PodNetwork
from tests.harness.daemon import Daemon

ADDRESSES = {"network.criwist/ips": "10.96.9.9/16, fd96::99/64", "network.criwist/mac": "02:00:00:00:00:99"}


def _set_pod_cidr(client: CRI, text: str) -> None:
    network_config = api.NetworkConfig(pod_cidr=text)
    client.runtime.UpdateRuntimeConfig(
        api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network_config))
    )


def test_addresses_by_annotation(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """A pod gets the addresses and the hardware address that its annotations request."""
    bridge, *others = network.plugins()
    bridge |= {"capabilities": {"ips": True, "mac": True}, "ipam": {"type": "static"}}
    network.configure([bridge, *others])
    daemon.start()
    client = client_of(daemon)
    pod_id, container_id = client.run_in_pod(pod=client.pod(annotations=ADDRESSES))
    status = client.pod_status(pod_id).network
    assert (status.ip, [one.ip for one in status.additional_ips]) == ("10.96.9.9", ["fd96::99"])
    assert "02:00:00:00:00:99" in client.output(container_id, "ip", "link", "show", "eth0")
    client.remove_pod(pod_id)
    assert network.left(daemon.state) == {}


def test_annotations_that_nobody_can_carry_out(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """On a network that cannot assign a requested address, the pod is rejected and nothing is left."""
    error = refused(lambda: node.run_pod(node.pod(annotations=ADDRESSES)), grpc.StatusCode.FAILED_PRECONDITION)
    assert "annotation network.criwist/ips: no plugin of network crwn has the capability ips" in error
    wrong = node.pod(annotations={"kubernetes.io/ingress-bandwidth": "fast"})
    error = refused(lambda: node.run_pod(wrong), grpc.StatusCode.INVALID_ARGUMENT)
    assert "kubernetes.io/ingress-bandwidth" in error
    assert network.left(daemon.state) == {}


def test_ranges_of_the_node(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """A network with the capability ipRanges waits for kubelet's CIDRs, and assigns addresses of both families."""
    bridge, *others = network.plugins()
    bridge["capabilities"] = {"ipRanges": True}
    del bridge["ipam"]["ranges"]
    network.configure([bridge, *others])
    daemon.start()
    client = client_of(daemon)
    assert "takes its ranges from the node's pod CIDR, and none is known" in network_ready(client).message
    refused(lambda: _set_pod_cidr(client, "10.96.5.0"), grpc.StatusCode.INVALID_ARGUMENT)
    _set_pod_cidr(client, "10.96.5.0/24,fd96:0:0:5::/64")
    assert network_ready(client).status
    status = client.pod_status(client.run_pod()).network
    assert status.ip.startswith("10.96.5.")
    assert [one.ip.startswith("fd96:0:0:5:") for one in status.additional_ips] == [True]
