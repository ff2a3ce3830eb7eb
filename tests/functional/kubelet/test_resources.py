"""What kubelet's classes of quality of service become: cgroups, limits, and scores of the OOM killer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.inside import SYS_RESOURCE, own_capabilities
from tests.harness.kubelet import Kubelet, Object, manifest

pytestmark = pytest.mark.second_opinion

_SMALL, _LARGE = {"cpu": "50m", "memory": "20Mi"}, {"cpu": "100m", "memory": "40Mi"}
#: Class to resources, and the parent of the pod's cgroup.
_CLASSES: dict[str, tuple[Object, str]] = {
    "BestEffort": ({}, "kubepods/besteffort"),
    "Burstable": ({"requests": _SMALL, "limits": _LARGE}, "kubepods/burstable"),
    "Guaranteed": ({"requests": _LARGE, "limits": _LARGE}, "kubepods"),
}


@pytest.mark.parametrize("name", _CLASSES)
def test_quality_of_service(kubelet: Kubelet, name: str) -> None:
    """A container's cgroup is below its pod's, which kubelet has made where the class has its pods, with its limits."""
    resources, parent = _CLASSES[name]
    pod = kubelet.run_pod(manifest(resources=resources))
    assert pod["status"]["qosClass"] == name
    of_pod = f"{kubelet.cgroup}/{parent}/pod{pod['metadata']['uid']}"
    found = [path for path in _hierarchies(f"{of_pod}/{kubelet.container_id(pod)}") if path.exists()]
    assert found
    limits = [path / file for path in found for file in ("memory.limit_in_bytes", "memory.max")]
    read = [path.read_text().strip() for path in limits if path.exists()]
    assert len(read) == 1
    assert (read[0] == str(40 << 20)) == bool(resources)


def test_score(kubelet: Kubelet) -> None:
    """A static pod gets the score -997; where the machine does not permit it, the pod runs with the least possible."""
    pod = kubelet.run_pod(manifest())
    score = int(kubelet.output(pod["metadata"]["name"], "cat", "/proc/1/oom_score_adj"))
    if own_capabilities() & SYS_RESOURCE:
        assert score == -997
    else:
        assert -997 < score <= 0


def _hierarchies(cgroup: str) -> list[Path]:
    """Return where a cgroup may be."""
    root = Path("/sys/fs/cgroup")
    return [root / cgroup, *(path / cgroup for path in root.glob("*/"))]


@pytest.mark.long
def test_processes(kubelet_factory: Callable[..., Kubelet]) -> None:
    """A pod cannot have more processes than kubelet gives each pod."""
    kubelet = kubelet_factory(configuration={"podPidsLimit": 20})
    name = kubelet.run_pod(manifest())["metadata"]["name"]
    script = "for i in $(seq 40); do sleep 4323 >/dev/null 2>&1 & done; echo all"
    out, err, _ = kubelet.exec(name, "sh", "-c", script)
    assert (out, b"fork" in err) == (b"", True)
