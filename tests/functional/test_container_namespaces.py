"""The network, IPC and PID namespaces that the containers of a pod share."""

from __future__ import annotations

from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually


@pytest.mark.second_opinion
def test_network_and_ipc_are_shared(cri: CRI) -> None:
    """Two containers of a pod share localhost, /dev/shm and the IPC namespace, but not their root file systems."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    one = cri.run(pod_id, cri.container("nc", "-ll", "-p", "8000", "-e", "echo", "hello"), pod)
    other = cri.run(pod_id, cri.container(), pod)
    eventually(lambda: cri.execute(other, "nc", "127.0.0.1", "8000").stdout == b"hello\n")
    cri.shell(one, "echo shared > /dev/shm/file; echo own > /tmp/file")
    assert cri.output(other, "cat", "/dev/shm/file") == "shared\n"
    assert cri.execute(other, "cat", "/tmp/file").exit_code != 0
    for namespace in ("net", "ipc"):
        link = f"/proc/self/ns/{namespace}"
        assert cri.output(one, "readlink", link) == cri.output(other, "readlink", link)


@pytest.mark.second_opinion
def test_own_process_namespace(cri: CRI) -> None:
    """With pid CONTAINER the container's command is process 1, and the container does not see the pause process."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container("sleep", "1000")
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "sleep\n"
    assert cri.execute(container_id, "pidof", "pause").exit_code == 1


@pytest.mark.second_opinion
def test_shared_process_namespace(cri: CRI) -> None:
    """With pid POD the containers see each other's processes, and process 1 is the pause program."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.pid = api.POD
    pod_id = cri.run_pod(pod)
    config = cri.container("sleep", "1000")
    config.linux.security_context.namespace_options.pid = api.POD
    cri.run(pod_id, config, pod)
    other = cri.container()
    other.linux.security_context.namespace_options.pid = api.POD
    container_id = cri.run(pod_id, other, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "pause\n"
    assert cri.output(container_id, "pidof", "sleep")


@pytest.mark.second_opinion
def test_host_process_namespace(cri: CRI) -> None:
    """With pid NODE the container sees the processes of the host."""
    pod = cri.pod()
    pod.linux.security_context.namespace_options.pid = api.NODE
    pod_id = cri.run_pod(pod)
    config = cri.container()
    config.linux.security_context.namespace_options.pid = api.NODE
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "readlink", "/proc/self/ns/pid").strip() == str(
        Path("/proc/self/ns/pid").readlink()
    )


@pytest.mark.second_opinion
def test_process_namespace_of_another_container(cri: CRI) -> None:
    """With pid TARGET, which ephemeral containers use, the container sees the processes of the target container."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    target = cri.container("sleep", "1000")
    target_id = cri.run(pod_id, target, pod)
    config = cri.container()
    config.linux.security_context.namespace_options.pid = api.TARGET
    config.linux.security_context.namespace_options.target_id = target_id
    container_id = cri.run(pod_id, config, pod)
    assert cri.output(container_id, "cat", "/proc/1/comm") == "sleep\n"
