"""kubelet evicts pods by the figures that the runtime reports: disk that a container fills, volumes, and memory.

kubelet evicts no static pod, so these come from an API server.  It looks every ten seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.clock import eventually
from tests.harness.kubelet import Kubelet, Object, container, manifest, phase, running, with_containers
from tests.harness.node_api import NodeAPI

pytestmark = pytest.mark.second_opinion

_WAIT = "while :; do sleep 0.2; done"
#: Takes 64 MiB of memory.
_GREEDY = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); " + _WAIT


@pytest.fixture
def node_api(session_root: Path) -> Iterator[NodeAPI]:
    """An API server; stopped after the kubelet that uses it."""
    directory = session_root / "node-api"
    directory.mkdir(exist_ok=True)
    server = NodeAPI(directory)
    yield server
    server.stop()


@pytest.fixture
def kubelet(node_api: NodeAPI, kubelet_factory: Callable[..., Kubelet]) -> Kubelet:
    """A kubelet that has its pods from the API server."""
    return kubelet_factory(configuration=node_api.configuration, flags=node_api.flags)


def _disk(limit: str) -> Object:
    """Return the field of a container that limits the disk that it takes.

    It requests nothing: right after its start kubelet takes the node for one without a disk.
    """
    return {"resources": {"limits": {"ephemeral-storage": limit}}}


def _writes(path: str, megabytes: int) -> tuple[str, ...]:
    return ("sh", "-c", f"dd if=/dev/zero of={path} bs=1M count={megabytes} 2>/dev/null; {_WAIT}")


def _evicted(pod: Object) -> bool:
    return bool(phase("Failed")(pod)) and pod["status"].get("reason") == "Evicted"


def _assert_ended(kubelet: Kubelet, name: str) -> None:
    """The pod's containers and its sandbox have ended."""
    selector = {"io.kubernetes.pod.name": name}
    runs = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    eventually(lambda: not kubelet.cri.container_ids(label_selector=selector, state=runs), within=60)
    ready = api.PodSandboxStateValue(state=api.SANDBOX_READY)
    eventually(lambda: not kubelet.cri.pod_ids(label_selector=selector, state=ready), within=60)


def test_ephemeral_storage_of_a_container(kubelet: Kubelet, node_api: NodeAPI) -> None:
    """A pod is evicted if a container writes more to its own file system than its limit; its neighbour stays."""
    within = _disk("16Mi")
    modest = node_api.create(with_containers(container(*_writes("/file", 4), **within)))
    greedy = node_api.create(
        with_containers(
            container(*_writes("/file", 24), name="greedy", **within),
            container(name="other", **_disk("1Gi")),
        )
    )
    pod = node_api.wait_for(greedy, _evicted, within=120)
    assert pod["status"]["message"].strip() == 'Container greedy exceeded its local ephemeral storage limit "16Mi".'
    assert [name for name, _ in node_api.events("Evicted")] == [greedy]
    _assert_ended(kubelet, greedy)
    assert running(node_api.pod(modest))


@pytest.mark.long
def test_ephemeral_storage_of_a_pod(kubelet: Kubelet, node_api: NodeAPI) -> None:
    """A pod is evicted if its containers and volumes together take more than the limits of its containers."""
    limit = _disk("16Mi")
    name = node_api.create(
        with_containers(
            container(*_writes("/file", 14), name="a", **limit),
            container(*_writes("/file", 14), name="b", **limit),
            container(*_writes("/file", 14), name="c", **limit),
        )
    )
    node_api.wait_for(name, running)  # and stays: it takes 42 MiB of 48
    volume = manifest(*_writes("/kept/file", 24), **limit)
    pod = node_api.wait_for(node_api.create(volume), _evicted, within=120)
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 16Mi."
    assert pod["status"]["message"].strip() == message
    assert running(node_api.pod(name))


@pytest.mark.long
def test_size_limit_of_a_volume(kubelet: Kubelet, node_api: NodeAPI) -> None:
    """A pod is evicted if an emptyDir has more in it than its size limit."""
    volumes = [{"name": "kept", "emptyDir": {"sizeLimit": "16Mi"}}]
    name = node_api.create(
        manifest(
            *_writes("/kept/file", 24),
            spec={"volumes": volumes},
            volumeMounts=[{"name": "kept", "mountPath": "/kept"}],
        )
    )
    pod = node_api.wait_for(name, _evicted, within=120)
    assert pod["status"]["message"].strip() == 'Usage of EmptyDir volume "kept" exceeds the limit "16Mi".'
    _assert_ended(kubelet, name)


@pytest.mark.long
def test_memory(kubelet: Kubelet, node_api: NodeAPI) -> None:
    """Under memory pressure the pod goes first that exceeds its request, and it is told by how much.

    The threshold is so high that every machine is beyond it: no memory has to be filled.
    """
    modest = node_api.create(manifest("sh", "-c", _WAIT, resources={"requests": {"memory": "32Mi"}}))
    greedy = node_api.create(manifest("sh", "-c", _GREEDY, resources={"requests": {"memory": "1Mi"}}))
    for name in (modest, greedy):
        node_api.wait_for(name, running)
    eventually(lambda: _working_set(kubelet, greedy) > 64 << 20, within=60)
    kubelet.stop()
    capacity = next(
        int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line
    )
    configured = json.loads(kubelet.configuration.read_text())
    configured["evictionHard"] = {"memory.available": str(capacity - (128 << 20))}
    kubelet.configuration.write_text(json.dumps(configured))
    kubelet.start()
    pod = node_api.wait_for(greedy, _evicted, within=120)
    assert "The node was low on resource: memory. Container c was using " in pod["status"]["message"]
    assert "which exceeds its request of 1Mi" in pod["status"]["message"]
    used = int(pod["status"]["message"].partition("was using ")[2].partition("Ki")[0]) << 10
    assert 64 << 20 < used < 256 << 20
    assert node_api.events("Evicted")[0][0] == greedy
    eventually(lambda: node_api.conditions()["MemoryPressure"] == "True", within=30)
    _assert_ended(kubelet, greedy)


def _working_set(kubelet: Kubelet, name: str) -> int:
    """Return a pod's memory as the summary has it."""
    pods = kubelet.json("/stats/summary")["pods"]
    memory = [pod.get("memory", {}) for pod in pods if pod["podRef"]["name"] == name]
    return int(memory[0].get("workingSetBytes", 0)) if memory else 0
