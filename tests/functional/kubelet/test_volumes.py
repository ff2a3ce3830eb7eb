"""Volumes that kubelet makes and mounts."""

from __future__ import annotations

import pytest

from tests.harness.clock import eventually
from tests.harness.kubelet import Kubelet, Object, container, manifest, phase, with_containers

pytestmark = pytest.mark.second_opinion


def _mount(name: str, path: str, **fields: object) -> Object:
    return {"volumeMounts": [{"name": name, "mountPath": path, **fields}]}


def test_empty_dir(kubelet: Kubelet) -> None:
    """An emptyDir is empty, shared by the pod's containers, and gone with the pod."""
    pod = kubelet.run_pod(
        with_containers(
            container("sh", "-c", "ls -A /v; echo hello >/v/file; sleep 1000", name="writer", **_mount("v", "/v")),
            container(name="reader", **_mount("v", "/v", readOnly=True)),
            volumes=[{"name": "v", "emptyDir": {}}],
        )
    )
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    eventually(lambda: kubelet.exec(name, "cat", "/v/file", container="reader")[0] == b"hello\n")
    assert kubelet.logs(name, "writer") == ""
    assert kubelet.exec(name, "touch", "/v/other", container="reader")[2]["status"] == "Failure"
    directory = kubelet.root / "kubelet" / "pods" / uid
    assert directory.exists()
    kubelet.remove(name)
    eventually(lambda: not directory.exists(), within=60, what="kubelet removes the pod's directory")


def test_empty_dir_in_memory(kubelet: Kubelet) -> None:
    """An emptyDir in memory, which kubelet mounts after its own start, is a tmpfs in the container too."""
    volume = {"name": "v", "emptyDir": {"medium": "Memory"}}
    pod = kubelet.run_pod(manifest(**_mount("v", "/v"), spec={"volumes": [volume]}))
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    assert kubelet.output(name, "stat", "-f", "-c", "%T", "/v") == "tmpfs\n"
    directory = kubelet.root / "kubelet" / "pods" / uid
    kubelet.remove(name)
    eventually(lambda: not directory.exists(), within=60, what="kubelet removes the pod's directory")


def test_host_path(kubelet: Kubelet) -> None:
    """A hostPath is the node's directory, both ways; kubelet makes it if the pod wants it so."""
    path = kubelet.root / "host-path"
    volume = {"name": "v", "hostPath": {"path": str(path), "type": "DirectoryOrCreate"}}
    pod = kubelet.run_pod(manifest(**_mount("v", "/v"), spec={"volumes": [volume]}))
    (path / "from-host").write_text("host")
    assert kubelet.output(pod["metadata"]["name"], "sh", "-c", "cat /v/from-host; echo pod >/v/from-pod") == "host"
    assert (path / "from-pod").read_text() == "pod\n"


def test_sub_path(kubelet: Kubelet) -> None:
    """A subPath is one directory or file of a volume: kubelet bind-mounts it, and unmounts it at the pod's end."""
    pod = kubelet.run_pod(
        with_containers(
            container(**_mount("v", "/part", subPath="part")),
            initContainers=[
                container("sh", "-c", "mkdir /v/part; echo inside >/v/part/file", name="i", **_mount("v", "/v"))
            ],
            volumes=[{"name": "v", "emptyDir": {}}],
        )
    )
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    assert kubelet.output(name, "cat", "/part/file") == "inside\n"
    directory = kubelet.root / "kubelet" / "pods" / uid
    kubelet.remove(name)
    eventually(lambda: not directory.exists(), within=60, what="kubelet removes the pod's directory")


def test_downward_api(kubelet: Kubelet) -> None:
    """Files and variables tell a container of its pod."""
    items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
    variables = [
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
    ]
    pod = kubelet.run_pod(
        manifest(
            *("sh", "-c", "cat /v/name; echo; echo $ADDRESS; hostname -i; echo $LIMIT"),
            restart="Never",
            env=variables,
            resources={"limits": {"memory": "50Mi"}, "requests": {"memory": "10Mi"}},
            **_mount("v", "/v"),
            spec={"volumes": [{"name": "v", "downwardAPI": {"items": items}}]},
        ),
        until=phase("Succeeded"),
    )
    name = pod["metadata"]["name"]
    told, address, own, limit = kubelet.logs(name).splitlines()
    assert (told, limit) == (name, str(50 << 20))
    assert address == own.strip()


@pytest.mark.long
def test_fs_group(kubelet: Kubelet) -> None:
    """Files of an emptyDir belong to the pod's fsGroup, which is a supplemental group of its processes."""
    context = {"fsGroup": 4321, "runAsUser": 1003}
    script = "id -G; touch /v/file; stat -c %g /v/file"
    pod = kubelet.run_pod(
        manifest(
            *("sh", "-c", script),
            restart="Never",
            **_mount("v", "/v"),
            spec={"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": context},
        ),
        until=phase("Succeeded"),
    )
    groups, group = kubelet.logs(pod["metadata"]["name"]).splitlines()
    assert "4321" in groups.split()
    assert group == "4321"
