"""RunPodSandbox, StopPodSandbox, RemovePodSandbox, PodSandboxStatus and ListPodSandbox."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.engine import Engine
from tests.harness.leftovers import cgroup_parent
from tests.harness.namespaces import NODE_ADDRESS

ABSENT = "0" * 64
#: Writes hello to each client of port 8000.
_GREETER = ("nc", "-ll", "-p", "8000", "-e", "echo", "hello")


@pytest.mark.second_opinion
def test_status_has_the_configuration(cri: CRI) -> None:
    """A running sandbox is READY, with the metadata, labels and annotations of its configuration."""
    before = time.time_ns()
    config = cri.pod(labels={"app": "web"}, annotations={"example.org/note": "some text, with = and spaces"})
    config.metadata.attempt = 3
    pod_id = cri.run_pod(config)
    status = cri.pod_status(pod_id)
    assert status.id == pod_id
    assert len(pod_id) == 64
    assert status.state == api.SANDBOX_READY
    assert status.metadata == config.metadata
    assert dict(status.labels) == dict(config.labels)
    assert dict(status.annotations) == dict(config.annotations)
    assert before - 1_000_000_000 <= status.created_at <= time.time_ns()


@pytest.mark.second_opinion
def test_list_agrees_with_status(cri: CRI) -> None:
    """An item of ListPodSandbox has the values of PodSandboxStatus."""
    pod_id = cri.run_pod()
    status = cri.pod_status(pod_id)
    (item,) = cri.runtime.ListPodSandbox(api.ListPodSandboxRequest()).items
    assert item.id == pod_id
    for name in ("metadata", "state", "created_at", "labels", "annotations", "runtime_handler"):
        assert getattr(item, name) == getattr(status, name), name


@pytest.mark.second_opinion
def test_list_filters(cri: CRI) -> None:
    """ListPodSandbox filters by id, unambiguous id prefix, state and labels, and by all of them together."""
    one = cri.run_pod(cri.pod(labels={"app": "a", "tier": "x"}))
    other = cri.run_pod(cri.pod(labels={"app": "b", "tier": "x"}))
    cri.stop_pod(other)
    ready, not_ready = (api.PodSandboxStateValue(state=state) for state in (api.SANDBOX_READY, api.SANDBOX_NOTREADY))
    assert set(cri.pod_ids()) == {one, other}
    assert cri.pod_ids(id=one) == [one]
    assert cri.pod_ids(id=other[:20]) == [other]
    assert cri.pod_ids(state=ready) == [one]
    assert cri.pod_ids(state=not_ready) == [other]
    assert set(cri.pod_ids(label_selector={"tier": "x"})) == {one, other}
    assert cri.pod_ids(label_selector={"tier": "x", "app": "b"}) == [other]
    assert cri.pod_ids(label_selector={"tier": "x", "app": "b"}, state=ready) == []
    assert cri.pod_ids(id=ABSENT) == []


def test_list_is_newest_first(cri: CRI) -> None:
    """kubelet and crictl expect the newest sandbox first; containerd leaves the order open."""
    made = [cri.run_pod() for _ in range(3)]
    assert cri.pod_ids() == made[::-1]


@pytest.mark.second_opinion
def test_unknown_sandbox_is_not_found(cri: CRI) -> None:
    """PodSandboxStatus of an unknown sandbox fails with NOT_FOUND, which kubelet tests for."""
    refused(lambda: cri.pod_status(ABSENT), grpc.StatusCode.NOT_FOUND)


@pytest.mark.second_opinion
def test_stop_and_remove_are_idempotent(cri: CRI) -> None:
    """Stopping and removing a sandbox again succeeds, and so does removing an unknown one."""
    pod_id = cri.run_pod()
    for _ in range(2):
        cri.stop_pod(pod_id)
        assert cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY
    for _ in range(2):
        cri.remove_pod(pod_id)
        assert cri.pod_ids() == []
    cri.remove_pod(ABSENT)


def test_stop_of_an_unknown_sandbox(cri: CRI) -> None:
    """Stopping an unknown or removed sandbox succeeds, as the CRI demands; containerd 1.6 fails with NOT_FOUND."""
    cri.stop_pod(ABSENT)


@pytest.mark.second_opinion
def test_stop_ends_the_containers(cri: CRI) -> None:
    """StopPodSandbox kills the containers, including those with a PID namespace of their own."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, cri.container("sh", "-c", "trap '' TERM; while :; do sleep 1; done"), pod)
    cri.stop_pod(pod_id)
    status = cri.status(container_id)
    assert status.state == api.CONTAINER_EXITED
    assert status.exit_code == 137
    assert status.finished_at >= status.started_at


@pytest.mark.second_opinion
def test_remove_removes_the_containers(cri: CRI) -> None:
    """RemovePodSandbox removes a running sandbox and its containers, whatever their state."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    running = cri.run(pod_id, cri.container(), pod)
    created = cri.create(pod_id, cri.container(), pod)
    cri.remove_pod(pod_id)
    assert cri.container_ids() == []
    for container_id in (running, created):
        refused(lambda container_id=container_id: cri.status(container_id), grpc.StatusCode.NOT_FOUND)  # type: ignore[misc]


@pytest.mark.second_opinion
def test_name_is_taken_until_removal(cri: CRI) -> None:
    """A second sandbox of equal metadata is refused and the first stays ready; a removal frees the name."""
    config = cri.pod()
    pod_id = cri.run_pod(config)
    refused(lambda: cri.run_pod(config))
    assert cri.pod_ids() == [pod_id]
    assert cri.pod_status(pod_id).state == api.SANDBOX_READY
    cri.remove_pod(pod_id)
    assert cri.pod_ids(id=cri.run_pod(config)) != [pod_id]


@pytest.mark.second_opinion
def test_next_attempt_beside_the_dead_one(cri: CRI) -> None:
    """The next attempt of a pod runs while the stopped sandbox of the previous attempt still exists."""
    config = cri.pod()
    first = cri.run_pod(config)
    cri.stop_pod(first)
    config.metadata.attempt = 1
    second = cri.run_pod(config)
    assert set(cri.pod_ids()) == {first, second}
    assert cri.pod_status(second).metadata.attempt == 1


@pytest.mark.second_opinion
def test_failed_run_leaves_nothing(cri: CRI) -> None:
    """A failed RunPodSandbox leaves no sandbox behind and frees its name."""
    config = cri.pod()
    config.linux.sysctls["net.ipv4.no_such_thing"] = "1"
    assert "no_such_thing" in refused(lambda: cri.run_pod(config))
    assert cri.pod_ids() == []
    del config.linux.sysctls["net.ipv4.no_such_thing"]
    cri.run_pod(config)


def test_failed_run_leaves_nothing_in_the_engine(cri: CRI, engine: Engine) -> None:
    """After a failed RunPodSandbox the engine has no container of it, and criwist no record."""
    before = engine.container_names()
    config = cri.pod()
    config.linux.sysctls["net.ipv4.no_such_thing"] = "1"
    refused(lambda: cri.run_pod(config))
    assert engine.container_names() == before


@pytest.mark.second_opinion
def test_unknown_runtime_handler(cri: CRI) -> None:
    """RunPodSandbox with an unknown handler fails with its name, and leaves no sandbox behind."""
    assert "no-such-handler" in refused(lambda: cri.run_pod(runtime_handler="no-such-handler"))
    assert cri.pod_ids() == []


@pytest.mark.second_opinion
def test_runtime_handler_is_reported(cri: CRI) -> None:
    """PodSandboxStatus returns the handler of the request, as it was spelled."""
    pod_id = cri.run_pod(runtime_handler="runc")
    assert cri.pod_status(pod_id).runtime_handler == "runc"


@pytest.mark.second_opinion
def test_hostname_and_dns(cri: CRI) -> None:
    """Containers have the pod's hostname, and a resolv.conf with the pod's servers, searches and options."""
    pod = cri.pod(
        dns_config=api.DNSConfig(
            servers=["192.0.2.53", "192.0.2.54"], searches=["a.example", "b.example"], options=["ndots:5", "timeout:1"]
        )
    )
    pod.hostname = "some-host"
    _, container_id = cri.run_in_pod(pod=pod)
    assert cri.output(container_id, "hostname") == "some-host\n"
    lines = cri.output(container_id, "cat", "/etc/resolv.conf").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "search a.example b.example",
        "nameserver 192.0.2.53",
        "nameserver 192.0.2.54",
        "options ndots:5 timeout:1",
    ] or set(lines) >= {
        "nameserver 192.0.2.53",
        "nameserver 192.0.2.54",
        "search a.example b.example",
        "options ndots:5 timeout:1",
    }


@pytest.mark.second_opinion
def test_address_is_the_containers(cri: CRI) -> None:
    """PodSandboxStatus returns the address of the interface in the pod's containers."""
    pod_id, container_id = cri.run_in_pod()
    address = cri.pod_status(pod_id).network.ip
    assert address
    assert f" {address}/" in cri.output(container_id, "ip", "-4", "-o", "addr")


@pytest.mark.second_opinion
def test_pods_reach_each_other(cri: CRI) -> None:
    """A pod connects to another at the address in its status."""
    server, _ = cri.run_in_pod(*_GREETER)
    _, client = cri.run_in_pod()
    address = cri.pod_status(server).network.ip
    eventually(lambda: cri.execute(client, "nc", "-w", "2", address, "8000").stdout == b"hello\n")


@pytest.mark.second_opinion
def test_host_network(cri: CRI) -> None:
    """A pod on the host's network shares the host's network namespace, and its status has no address."""
    pod = cri.host_network_pod()
    pod_id, container_id = cri.run_in_pod(pod=pod)
    status = cri.pod_status(pod_id)
    assert status.network.ip == ""
    assert status.linux.namespaces.options.network == api.NODE
    assert cri.output(container_id, "readlink", "/proc/self/ns/net").strip() == os.readlink("/proc/self/ns/net")


@pytest.mark.second_opinion
def test_host_port(cri: CRI) -> None:
    """A host port forwards to the pod's port while the pod runs, and is free after its stop."""
    port = 23080
    pod = cri.pod(port_mappings=[api.PortMapping(protocol=api.TCP, container_port=8000, host_port=port)])
    pod_id, _ = cri.run_in_pod(*_GREETER, pod=pod)

    def greeting() -> bytes:
        with socket.create_connection((NODE_ADDRESS, port), timeout=2) as connection:
            return connection.recv(100)

    eventually(lambda: _unless_refused(greeting) == b"hello\n")
    cri.stop_pod(pod_id)
    with socket.socket() as free:
        free.bind((NODE_ADDRESS, port))
    again = cri.pod(port_mappings=pod.port_mappings)
    cri.run_pod(again)


def _unless_refused(call: object) -> object:
    try:
        return call()  # type: ignore[operator]
    except OSError as error:
        return error


@pytest.mark.second_opinion
def test_sysctls(cri: CRI) -> None:
    """The sandbox's sysctls are in force in its containers."""
    pod = cri.pod()
    pod.linux.sysctls["net.ipv4.ip_local_port_range"] = "20000 20099"
    pod.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    _, container_id = cri.run_in_pod(pod=pod)
    assert cri.output(container_id, "cat", "/proc/sys/net/ipv4/ip_local_port_range").split() == ["20000", "20099"]
    assert cri.output(container_id, "cat", "/proc/sys/kernel/shm_rmid_forced") == "1\n"


def test_log_directory_is_made(cri: CRI) -> None:
    """RunPodSandbox creates the pod's log directory; containerd leaves that to kubelet."""
    config = cri.pod()
    cri.run_pod(config)
    assert Path(config.log_directory).is_dir()


@pytest.mark.second_opinion
def test_cgroup_parent(cri: CRI, session_root: Path) -> None:
    """Containers are below the pod's cgroup."""
    systemd = os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") == "1"
    top = cgroup_parent(session_root.name, systemd=systemd)
    parent = f"{top.removesuffix('.slice')}-pod1.slice" if systemd else f"{top}/pod1"
    pod = cri.pod()
    pod.linux.cgroup_parent = parent
    _, container_id = cri.run_in_pod(pod=pod, linux=api.LinuxContainerConfig())
    pids = cri.output(container_id, "sh", "-c", "cat /proc/self/cgroup")
    assert pids  # inside, a cgroup namespace may hide the path; outside it cannot be hidden
    found = [
        directory
        for directory in Path("/sys/fs/cgroup").rglob(f"*{container_id}*")
        if parent.strip("/") in str(directory)
    ]
    assert found


@pytest.mark.second_opinion
def test_namespaces_are_reported(cri: CRI) -> None:
    """PodSandboxStatus returns the namespace modes of the configuration."""
    pod = cri.pod()
    options = pod.linux.security_context.namespace_options
    options.pid, options.ipc = api.CONTAINER, api.NODE
    reported = cri.pod_status(cri.run_pod(pod)).linux.namespaces.options
    assert (reported.network, reported.pid, reported.ipc) == (api.POD, api.CONTAINER, api.NODE)


def test_verbose_status_has_the_pid(cri: CRI, engine: Engine) -> None:
    """Verbose PodSandboxStatus has the pid of the pause process in its info."""
    pod_id = cri.run_pod()
    response = cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id, verbose=True))
    pid = engine.inspect(pod_id)["State"]["Pid"]
    assert str(pid) in response.info["info"]
    assert not cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)).info


def test_killed_pause_is_not_ready(cri: CRI, engine: Engine) -> None:
    """A sandbox whose pause process was killed is NOTREADY within a second, and can be stopped and removed."""
    pod_id = cri.run_pod()
    engine.post(f"/containers/{pod_id}/kill", signal="KILL")
    eventually(lambda: cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY, within=1)
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)


def test_names_and_labels_of_dockershim(cri: CRI, engine: Engine) -> None:
    """Sandbox and container have the names and labels of dockershim, by which shims adopt them."""
    pod = cri.pod(annotations={"note": "yes"})
    pod_id, container_id = cri.run_in_pod(pod=pod, name="main")
    sandbox, container = engine.inspect(pod_id), engine.inspect(container_id)
    metadata = pod.metadata
    suffix = f"{metadata.name}_{metadata.namespace}_{metadata.uid}_0"
    assert sandbox["Name"] == f"/k8s_POD_{suffix}"
    assert container["Name"] == f"/k8s_main_{suffix}"
    labels = sandbox["Config"]["Labels"]
    assert labels["io.kubernetes.docker.type"] == "podsandbox"
    assert labels["annotation.note"] == "yes"
    assert container["Config"]["Labels"]["io.kubernetes.docker.type"] == "container"
    assert container["Config"]["Labels"]["io.kubernetes.sandbox.id"] == pod_id


@pytest.mark.second_opinion
def test_many_at_once(cri: CRI) -> None:
    """Twelve pods that start at once all run, each with an address of its own."""
    futures = [cri.runtime.RunPodSandbox.future(api.RunPodSandboxRequest(config=cri.pod())) for _ in range(12)]
    pods = [future.result().pod_sandbox_id for future in futures]
    addresses = {cri.pod_status(pod_id).network.ip for pod_id in pods}
    assert len(addresses) == 12
