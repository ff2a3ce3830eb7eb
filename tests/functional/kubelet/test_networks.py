"""Networks of pods: addresses, names, host ports, and the node's own network."""

from __future__ import annotations

import pytest

from tests.functional.pod_networks import GREETER, greeting, greets
from tests.harness.clock import eventually
from tests.harness.kubelet import Kubelet, container, manifest, running, with_containers
from tests.harness.namespaces import NODE_ADDRESS

pytestmark = pytest.mark.second_opinion


def test_address(kubelet: Kubelet) -> None:
    """Pods reach each other, and the node them, at the addresses that kubelet reports."""
    server = kubelet.run_pod(manifest(*GREETER))
    address = server["status"]["podIP"]
    assert server["status"]["podIPs"][0]["ip"] == address
    greets(address, 8000)
    client = kubelet.run_pod(manifest())
    name = client["metadata"]["name"]
    assert client["status"]["podIP"] != address
    assert kubelet.output(name, "sh", "-c", f"nc {address} 8000 </dev/null") == "hello\n"


def test_names(kubelet: Kubelet) -> None:
    """A container has the pod's hostname, and an /etc/hosts from kubelet with the pod's address and host aliases."""
    aliases = [{"ip": "192.0.2.77", "hostnames": ["alias.example"]}]
    pod = kubelet.run_pod(manifest(spec={"hostAliases": aliases, "hostname": "chosen"}))
    name = pod["metadata"]["name"]
    assert kubelet.output(name, "hostname") == "chosen\n"
    hosts = kubelet.output(name, "cat", "/etc/hosts")
    lines = [line.split() for line in hosts.splitlines()]
    assert [pod["status"]["podIP"], "chosen"] in lines
    assert ["192.0.2.77", "alias.example"] in lines


def test_dns(kubelet: Kubelet) -> None:
    """With the policy None the pod's own DNS configuration is that of its containers."""
    configuration = {
        "nameservers": ["192.0.2.53"],
        "searches": ["one.example", "two.example"],
        "options": [{"name": "ndots", "value": "3"}],
    }
    pod = kubelet.run_pod(manifest(spec={"dnsPolicy": "None", "dnsConfig": configuration}))
    lines = kubelet.output(pod["metadata"]["name"], "cat", "/etc/resolv.conf").splitlines()
    assert sorted(lines) == ["nameserver 192.0.2.53", "options ndots:3", "search one.example two.example"]


def test_host_network(kubelet: Kubelet) -> None:
    """A pod on the node's network has its ports.  (kubelet reports no address: it has none without an API server.)"""
    pod = kubelet.run_pod(manifest("nc", "-ll", "-p", "23201", "-e", "echo", "hello", spec={"hostNetwork": True}))
    assert "podIP" not in pod["status"]
    greets(NODE_ADDRESS, 23201)
    kubelet.remove(pod["metadata"]["name"])
    eventually(lambda: greeting(NODE_ADDRESS, 23201) == b"")


def test_host_port(kubelet: Kubelet) -> None:
    """A host port leads to the pod until the pod ends; then another pod may have it."""
    ports = [{"containerPort": 8000, "hostPort": 23202}]
    for _ in range(2):
        pod = kubelet.run_pod(manifest(*GREETER, ports=ports))
        greets(NODE_ADDRESS, 23202)
        kubelet.remove(pod["metadata"]["name"])
        eventually(lambda: greeting(NODE_ADDRESS, 23202) == b"", within=30)


def test_host_namespaces(kubelet: Kubelet) -> None:
    """A pod with the node's process namespace sees the node's processes."""
    pod = kubelet.run_pod(manifest(spec={"hostPID": True, "hostIPC": True}), until=running)
    name = pod["metadata"]["name"]
    assert "kubelet" in kubelet.output(name, "cat", f"/proc/{kubelet.program.pid}/cmdline")


def test_shared_process_namespace(kubelet: Kubelet) -> None:
    """Containers of a pod that shares its process namespace see each other's processes, and the pause process."""
    pod = kubelet.run_pod(
        with_containers(container("sleep", "4322", name="a"), container(name="b"), shareProcessNamespace=True)
    )
    listed = kubelet.output(pod["metadata"]["name"], "ps", container="b")
    assert "sleep 4322" in listed
    assert "/pause" in listed
