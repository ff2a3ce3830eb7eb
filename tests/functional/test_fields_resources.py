"""Resources in the container's cgroup, v1 and v2, at the start and after an update."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import cgroups
from tests.harness.client import CRI, refused
from tests.harness.inside import process_status, run

MIB = 1 << 20
V2 = not Path("/sys/fs/cgroup/memory").exists()


def cgroup(container_id: str, file: str) -> str:
    """Return the content of a file of the container's cgroup on the host."""
    # os.walk ignores cgroups that vanish meanwhile.
    walked = cgroups.walk()
    found = [above / file for above, files in walked if container_id in above.name and file in files]
    assert found, f"no {file} in a cgroup of {container_id}"
    return found[0].read_text().strip()


def limited(cri: CRI, **resources: Any) -> str:
    """Run a container with these resources, and return its id."""
    config = cri.container()
    config.linux.resources.MergeFrom(api.LinuxContainerResources(**resources))
    return run(cri, config)


def update(cri: CRI, container_id: str, **resources: Any) -> None:
    """Update the resources of a container."""
    linux = api.LinuxContainerResources(**resources)
    cri.runtime.UpdateContainerResources(api.UpdateContainerResourcesRequest(container_id=container_id, linux=linux))


def reported(cri: CRI, container_id: str) -> api.LinuxContainerResources:
    """Return the resources in ContainerStatus."""
    return cri.status(container_id).resources.linux


def cpu(container_id: str) -> tuple[str, str]:
    """Return quota and period in force."""
    if V2:
        quota, period = cgroup(container_id, "cpu.max").split()
        return quota, period
    return cgroup(container_id, "cpu.cfs_quota_us"), cgroup(container_id, "cpu.cfs_period_us")


def memory(container_id: str) -> tuple[int | None, int | None]:
    """Return the limits of memory, and of memory and swap together; None is no limit."""
    if V2:
        alone, swap = cgroup(container_id, "memory.max"), cgroup(container_id, "memory.swap.max")
        limit = None if alone == "max" else int(alone)
        return limit, None if limit is None or swap == "max" else limit + int(swap)
    values = (int(cgroup(container_id, f"memory.{name}limit_in_bytes")) for name in ("", "memsw."))
    limit, both = (None if value > 1 << 60 else value for value in values)
    return limit, both


@pytest.mark.second_opinion
def test_cpu(cri: CRI) -> None:
    """The cgroup has the period, quota, shares and cpuset, and an update changes the fields that it has."""
    container_id = limited(cri, cpu_period=50_000, cpu_quota=20_000, cpu_shares=512, cpuset_cpus="0", cpuset_mems="0")
    assert cpu(container_id) == ("20000", "50000")
    assert cgroup(container_id, "cpuset.cpus") == "0"
    assert cgroup(container_id, "cpuset.mems") == "0"
    shares = cgroup(container_id, "cpu.weight" if V2 else "cpu.shares")
    assert shares in (("20", "59") if V2 else ("512",))  # two formulas are in use for v2
    update(cri, container_id, cpu_quota=30_000, cpu_period=50_000)
    assert cpu(container_id) == ("30000", "50000")
    assert cgroup(container_id, "cpuset.cpus") == "0"


def test_limits_in_force_are_reported(cri: CRI) -> None:
    """ContainerStatus reports the cgroup's limits, at the start and after an update of every field."""
    container_id = limited(
        cri, cpu_period=50_000, cpu_quota=20_000, cpu_shares=512, cpuset_cpus="0", memory_limit_in_bytes=64 * MIB
    )
    resources = reported(cri, container_id)
    assert (resources.cpu_period, resources.cpu_quota, resources.cpu_shares) == (50_000, 20_000, 512)
    assert (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes) == (64 * MIB, 64 * MIB)
    cpus = Path("/sys/fs/cgroup") / ("" if V2 else "cpuset") / ("cpuset.cpus.effective" if V2 else "cpuset.cpus")
    every = cpus.read_text().strip()
    update(
        cri,
        container_id,
        cpu_period=100_000,
        cpu_quota=90_000,
        cpu_shares=256,
        cpuset_cpus=every,
        cpuset_mems="0",
        memory_limit_in_bytes=80 * MIB,
        memory_swap_limit_in_bytes=128 * MIB,
        oom_score_adj=700,
        unified={"pids.max": "40"},
    )
    resources = reported(cri, container_id)
    assert (resources.cpu_period, resources.cpu_quota, resources.cpu_shares) == (100_000, 90_000, 256)
    assert (resources.cpuset_cpus, resources.cpuset_mems) == (every, "0")
    assert (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes) == (80 * MIB, 128 * MIB)
    assert (resources.oom_score_adj, dict(resources.unified)) == (700, {"pids.max": "40"})
    assert cpu(container_id) == ("90000", "100000")
    assert memory(container_id) == (80 * MIB, 128 * MIB)


def test_update_before_the_start(cri: CRI) -> None:
    """Before the start an update changes fields of the Engine API and is refused, not lost, for all others."""
    pod = cri.pod()
    container_id = cri.create(cri.run_pod(pod), cri.container(), pod)
    text = refused(
        lambda: update(cri, container_id, cpu_shares=100, oom_score_adj=900), grpc.StatusCode.FAILED_PRECONDITION
    )
    assert "linux.oom_score_adj" in text
    update(cri, container_id, cpu_shares=512, memory_limit_in_bytes=64 * MIB)
    cri.start(container_id)
    assert memory(container_id)[0] == 64 * MIB
    assert reported(cri, container_id).cpu_shares == 512


@pytest.mark.second_opinion
def test_memory_without_swap(cri: CRI) -> None:
    """A memory limit without a swap limit allows no swap."""
    assert memory(limited(cri, memory_limit_in_bytes=64 * MIB)) == (64 * MIB, 64 * MIB)


@pytest.mark.second_opinion
def test_memory_with_swap(cri: CRI) -> None:
    """The swap limit is the sum of memory and swap, at the start and in an update."""
    container_id = limited(cri, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB)
    assert memory(container_id) == (64 * MIB, 96 * MIB)
    update(cri, container_id, memory_limit_in_bytes=80 * MIB, memory_swap_limit_in_bytes=128 * MIB)
    assert memory(container_id) == (80 * MIB, 128 * MIB)


def test_unlimited_swap(cri: CRI) -> None:
    """A swap limit of -1 means unlimited; an update that cannot lift a limit is refused and changes nothing."""
    container_id = limited(cri, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=-1)
    assert memory(container_id) == (64 * MIB, None)
    other = limited(cri, memory_limit_in_bytes=64 * MIB)
    lift = {"memory_limit_in_bytes": 80 * MIB, "memory_swap_limit_in_bytes": -1}
    if V2:
        update(cri, other, **lift)
        assert memory(other) == (80 * MIB, None)
    else:
        text = refused(lambda: update(cri, other, **lift), grpc.StatusCode.FAILED_PRECONDITION)
        assert "linux.memory_swap_limit_in_bytes" in text
        assert memory(other) == (64 * MIB, 64 * MIB)


@pytest.mark.second_opinion
def test_unlimited(cri: CRI) -> None:
    """A resource without a limit in the configuration is unlimited."""
    container_id = limited(cri)
    assert memory(container_id)[0] is None
    assert cpu(container_id)[0] in ("-1", "max")


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"memory_swap_limit_in_bytes": MIB}, "memory_swap_limit_in_bytes"),
        ({"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": MIB}, "memory_swap_limit_in_bytes"),
        ({"memory_limit_in_bytes": -5}, "memory_limit_in_bytes"),
        ({"cpu_period": 1}, "cpu_period"),
        ({"cpu_quota": 1}, "cpu_quota"),
        ({"oom_score_adj": 1001}, "oom_score_adj"),
        ({"hugepage_limits": [api.HugepageLimit(page_size="2M", limit=1)]}, "hugepage_limits[0].page_size"),
        ({"unified": {"cgroup.kill": "1"}}, "unified[cgroup.kill]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_senseless_values(cri: CRI, resources: dict[str, Any], field: str) -> None:
    """A value that no kernel takes is refused with its field, in a create and in an update."""
    container_id = limited(cri)
    code = grpc.StatusCode.INVALID_ARGUMENT
    assert f"config.linux.resources.{field}" in refused(lambda: limited(cri, **resources), code)
    assert f"linux.{field}" in refused(lambda: update(cri, container_id, **resources), code)


def test_processes(cri: CRI) -> None:
    """The unified key pids.max limits processes on both versions of cgroups, at the start and in an update."""
    container_id = limited(cri, unified={"pids.max": "50"})
    assert cgroup(container_id, "pids.max") == "50"
    assert reported(cri, container_id).unified["pids.max"] == "50"
    update(cri, container_id, unified={"pids.max": "max"})
    assert cgroup(container_id, "pids.max") == "max"
    assert "pids.max" not in reported(cri, container_id).unified


@pytest.mark.skipif(not V2, reason="unified keys are cgroup v2's")
def test_unified(cri: CRI) -> None:
    """Other unified keys are written when the container runs, and in an update."""
    container_id = limited(cri, memory_limit_in_bytes=64 * MIB, unified={"memory.high": str(32 * MIB)})
    assert cgroup(container_id, "memory.high") == str(32 * MIB)
    update(cri, container_id, unified={"memory.high": str(48 * MIB), "memory.low": str(MIB)})
    assert cgroup(container_id, "memory.high") == str(48 * MIB)
    assert cgroup(container_id, "memory.low") == str(MIB)
    unified = reported(cri, container_id).unified
    assert (unified["memory.high"], unified["memory.low"]) == (str(48 * MIB), str(MIB))


@pytest.mark.skipif(not V2, reason="unified keys are cgroup v2's")
def test_unified_key_that_the_kernel_refuses(cri: CRI) -> None:
    """A key that cannot be written fails the start; the container does not run without it."""
    config = cri.container()
    config.linux.resources.unified["memory.nonsense"] = "1"
    pod = cri.pod()
    container_id = cri.create(cri.run_pod(pod), config, pod)
    assert "memory.nonsense" in refused(lambda: cri.start(container_id))
    assert cri.status(container_id).state == api.CONTAINER_EXITED


@pytest.mark.skipif(V2, reason="the host has cgroup v2")
def test_unified_on_cgroup_v1(cri: CRI) -> None:
    """CreateContainer refuses keys of cgroup v2 on v1."""
    text = refused(lambda: limited(cri, unified={"memory.high": "1000"}), grpc.StatusCode.FAILED_PRECONDITION)
    assert "config.linux.resources.unified[memory.high]" in text


def _hugetlb() -> bool:
    """Return whether the kernel limits hugepages of 2 MiB.  On v2 a cgroup has the files only once they are needed."""
    if V2:
        return "hugetlb" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    return any(name.startswith("hugetlb.2MB.") for _, files in cgroups.walk() for name in files)


@pytest.mark.skipif(not _hugetlb(), reason="the kernel has no hugetlb controller")
def test_hugepages(cri: CRI) -> None:
    """The cgroup has the hugepage limits, and an update changes them."""
    file = "hugetlb.2MB.max" if V2 else "hugetlb.2MB.limit_in_bytes"
    container_id = limited(cri, hugepage_limits=[api.HugepageLimit(page_size="2MB", limit=4 * MIB)])
    assert cgroup(container_id, file) == str(4 * MIB)
    update(cri, container_id, hugepage_limits=[api.HugepageLimit(page_size="2MB", limit=2 * MIB)])
    assert cgroup(container_id, file) == str(2 * MIB)


@pytest.mark.skipif(_hugetlb(), reason="the kernel has a hugetlb controller")
def test_hugepages_that_cannot_be_limited(cri: CRI) -> None:
    """A hugepage limit without a controller is an error, except 0, which kubelet sends for every size."""
    zero = api.HugepageLimit(page_size="2MB", limit=0)
    assert cri.status(limited(cri, hugepage_limits=[zero])).state == api.CONTAINER_RUNNING
    some = api.HugepageLimit(page_size="2MB", limit=4 * MIB)
    assert "hugetlb" in refused(lambda: limited(cri, hugepage_limits=[some]), grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.second_opinion
def test_quota_is_enforced(cri: CRI) -> None:
    """A busy container with a quota of a tenth of a CPU uses about that."""
    config = cri.container("sh", "-c", "while :; do :; done")
    config.linux.resources.cpu_period, config.linux.resources.cpu_quota = 100_000, 10_000
    container_id = run(cri, config)
    start = time.monotonic()
    time.sleep(1)
    assert process_status(cri, container_id)["State"].startswith(("R", "S"))
    ticks = cri.output(container_id, "cat", "/proc/1/stat").rpartition(")")[2].split()
    used = (int(ticks[11]) + int(ticks[12])) / 100
    assert used < 0.5 * (time.monotonic() - start)


def test_oom_score_of_a_running_container(cri: CRI) -> None:
    """An update changes the oom score of every running process; an update without an oom score keeps it."""
    container_id = limited(cri, oom_score_adj=500)
    update(cri, container_id, oom_score_adj=700)
    assert cri.output(container_id, "cat", "/proc/1/oom_score_adj").strip() == "700"
    assert cri.status(container_id).resources.linux.oom_score_adj == 700
    update(cri, container_id, cpu_shares=512)
    assert cri.output(container_id, "cat", "/proc/1/oom_score_adj").strip() == "700"
    assert cri.status(container_id).resources.linux.oom_score_adj == 700
