"""Limits of a container's memory and CPU, the OOM killer, and UpdateContainerResources."""

from __future__ import annotations

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import cgroups
from tests.harness.client import CRI


@pytest.mark.second_opinion
def test_memory_limit_and_oom(cri: CRI) -> None:
    """A container that uses more memory than its limit is killed with the reason OOMKilled."""
    config = cri.container("sh", "-c", "sleep 0.5; tail /dev/zero")
    config.linux.resources.memory_limit_in_bytes = 16 << 20
    config.linux.resources.oom_score_adj = 999
    pod = cri.pod()
    status = cri.wait_for_exit(cri.run(cri.run_pod(pod), config, pod), within=30)
    assert status.reason == "OOMKilled"
    assert status.exit_code == 137


def test_resources_are_reported_and_updated(cri: CRI) -> None:
    """ContainerStatus reports the limits in force, and UpdateContainerResources changes them at once."""
    config = cri.container()
    resources = config.linux.resources
    resources.cpu_period, resources.cpu_quota, resources.cpu_shares = 100_000, 50_000, 512
    resources.memory_limit_in_bytes = 64 << 20
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    reported = cri.status(container_id).resources.linux
    assert (reported.cpu_period, reported.cpu_quota) == (100_000, 50_000)
    assert reported.memory_limit_in_bytes == 64 << 20
    update = api.LinuxContainerResources(cpu_period=100_000, cpu_quota=20_000, memory_limit_in_bytes=96 << 20)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=update))
    reported = cri.status(container_id).resources.linux
    assert reported.cpu_quota == 20_000
    assert reported.memory_limit_in_bytes == 96 << 20


@pytest.mark.second_opinion
def test_memory_limit_is_updated(cri: CRI) -> None:
    """UpdateContainerResources changes the cgroup of the running container."""
    config = cri.container()
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    update = api.LinuxContainerResources(memory_limit_in_bytes=96 << 20)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=update))
    limits = [
        int((directory / name).read_text())
        for directory, files in cgroups.walk()
        for name in {"memory.limit_in_bytes", "memory.max"} & set(files)
        if container_id in directory.name
    ]
    assert limits == [96 << 20]


@pytest.mark.second_opinion
@pytest.mark.parametrize("score", [0, 500, 1000, -997])
def test_oom_score(cri: CRI, score: int) -> None:
    """A container starts with any oom_score_adj; a negative one is clamped where the runtime may not set it."""
    config = cri.container()
    config.linux.resources.oom_score_adj = score
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    actual = int(cri.output(container_id, "cat", "/proc/1/oom_score_adj"))
    assert actual == score if score >= 0 else score <= actual <= 0
