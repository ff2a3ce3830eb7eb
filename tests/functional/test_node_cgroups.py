"""cgroups as on most nodes: version 2, and systemd creates the slices of pods and the scopes of containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.leftovers import cgroup_parent

ROOT = Path("/sys/fs/cgroup")

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") != "1" or not Path("/run/systemd/system").exists(),
        reason="needs systemd, and the runtimes to use its cgroup driver",
    ),
    pytest.mark.skipif(not (ROOT / "cgroup.controllers").exists(), reason="needs cgroup v2"),
]

MIB = 1 << 20


@pytest.fixture
def slice_name(session_root: Path, request: pytest.FixtureRequest) -> str:
    """Return a pod's slice as kubelet's systemd driver names it: the parts of its path joined by dashes."""
    top = cgroup_parent(session_root.name, systemd=True).removesuffix(".slice")
    return f"{top}-burstable-pod{abs(hash(request.node.name))}.slice"


def cgroup_of(container_id: str) -> Path:
    """Return the container's cgroup, which is found by the id."""
    found = list(ROOT.rglob(f"*{container_id}*.scope"))
    assert len(found) == 1, found
    return found[0]


@pytest.mark.second_opinion
def test_slice_of_a_pod(cri: CRI, slice_name: str) -> None:
    """Containers are scopes in the pod's slice, whose path follows from the dashes in its name."""
    pod = cri.pod()
    pod.linux.cgroup_parent = slice_name
    _, container_id = cri.run_in_pod(pod=pod)
    path = cgroup_of(container_id)
    assert path.parent.name == slice_name
    top, middle, _ = slice_name.removesuffix(".slice").split("-")
    assert path.parent.parent == ROOT / f"{top}.slice" / f"{top}-{middle}.slice"
    assert (path / "cgroup.procs").read_text().split()


@pytest.mark.second_opinion
def test_cgroup_ends_with_the_container(cri: CRI, slice_name: str) -> None:
    """The scope is gone once the container has stopped."""
    pod = cri.pod()
    pod.linux.cgroup_parent = slice_name
    _, container_id = cri.run_in_pod(pod=pod)
    path = cgroup_of(container_id)
    cri.stop(container_id)
    eventually(lambda: not path.exists())


@pytest.mark.second_opinion
def test_limits_are_in_the_scope(cri: CRI, slice_name: str) -> None:
    """Limits are in the files of the scope, at the start and after an update; systemd does not undo them."""
    pod = cri.pod()
    pod.linux.cgroup_parent = slice_name
    limits = api.LinuxContainerResources(memory_limit_in_bytes=64 * MIB, cpu_period=100_000, cpu_quota=50_000)
    _, container_id = cri.run_in_pod(pod=pod, linux=api.LinuxContainerConfig(resources=limits))
    path = cgroup_of(container_id)
    assert (path / "memory.max").read_text().strip() == str(64 * MIB)
    assert (path / "cpu.max").read_text().split() == ["50000", "100000"]
    more = api.LinuxContainerResources(memory_limit_in_bytes=96 * MIB)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=more))
    assert (path / "memory.max").read_text().strip() == str(96 * MIB)
    assert (path / "cpu.max").read_text().split() == ["50000", "100000"]
