"""Figures for metrics in the files of cgroups of version 1, version 2 and both; see data/README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from criwist.interfaces.kernel_metrics import CgroupMetrics, DeviceIO
from criwist.kernel.cgroup.io_stats import parse_blkio, parse_io_stat
from criwist.kernel.cgroup.metrics import (
    parse_cpu_stat,
    parse_cpu_stat_v1,
    parse_cpuacct_stat,
    parse_memory_stat,
    read_metrics,
)
from criwist.kernel.cgroup.paths import Cgroup
from tests.kernel.cgroup.test_usage import DATA, MIB, v1


def name_of(major: int, minor: int) -> str:
    """Return the name of a device."""
    return f"/dev/{major}-{minor}"


def read(cgroup: Cgroup, cpu_shares: int = 0) -> CgroupMetrics:
    """Return the figures."""
    return read_metrics(cgroup, cpu_shares, name_of)


def test_v2() -> None:
    """Version 2 has all figures but the peak of huge pages; microseconds are reported as nanoseconds."""
    assert read(Cgroup(v2=str(DATA / "v2-6.6")), 1024) == CgroupMetrics(
        cpu_user=10_191_064_000,
        cpu_system=2_658_438_000,
        periods=120,
        throttled_periods=30,
        throttled=1_500_000_000,
        page_cache=90 * MIB,
        mapped_file=1_073_152,
        kernel_memory=4 * MIB,
        memory_peak=240 * MIB,
        memory_limit_hits=17,
        own_page_faults=31_033,
        own_major_page_faults=13,
        oom_kills=3,
        tasks_max=100,
        huge_pages={"2MB": 4 * MIB},
        devices=(
            DeviceIO(8, 16, "/dev/8-16", {"Read": 1, "Write": 2, "Discard": 0}, {"Read": 3, "Write": 4, "Discard": 0}),
            DeviceIO(
                *(254, 0, "/dev/254-0"),
                {"Read": 4096, "Write": 8192, "Discard": 512},
                {"Read": 1, "Write": 2, "Discard": 3},
            ),
        ),
        cpu_period=100_000,
        cpu_quota=50_000,
        cpu_shares=1024,
        memory_limit=256 * MIB,
        memory_reservation=MIB,
        swap_limit=128 * MIB,
    )


def test_v2_without_limits() -> None:
    """``max`` is no limit; before Linux 5.18 kernel memory is the sum of its parts; there is no peak before 5.19."""
    metrics = read(Cgroup(v2=str(DATA / "v2-5.10")))
    assert (metrics.cpu_quota, metrics.cpu_period, metrics.cpu_shares) == (None, 100_000, 1024)
    assert (metrics.memory_limit, metrics.memory_reservation, metrics.swap_limit, metrics.tasks_max) == (0, 0, 0, 0)
    assert metrics.kernel_memory == 114_688 + 524_288
    assert metrics.memory_peak is None
    assert (metrics.periods, metrics.throttled) == (None, None)
    assert (metrics.huge_pages, metrics.devices, metrics.oom_kills) == ({}, (), 0)


def test_v1() -> None:
    """Version 1 has all figures; before Linux 4.17 the throttling layer counts the cgroup alone."""
    assert read(v1(DATA / "v1-4.19")) == CgroupMetrics(
        cpu_user=50_000_000_000,
        cpu_system=23_400_000_000,
        periods=120,
        throttled_periods=30,
        throttled=1_500_000_000,
        page_cache=90 * MIB,
        mapped_file=1_351_680,
        kernel_memory=4 * MIB,
        memory_peak=240 * MIB,
        memory_limit_hits=17,
        own_page_faults=31_020,
        own_major_page_faults=12,
        oom_kills=3,
        tasks_max=0,
        huge_pages={"2MB": 2 * MIB},
        huge_pages_peak={"2MB": 4 * MIB},
        devices=(
            DeviceIO(
                *(254, 0, "/dev/254-0"),
                {"Read": 4096, "Write": 8192, "Sync": 12288, "Async": 0, "Total": 12288},
                {"Read": 1, "Write": 2, "Sync": 3, "Async": 0, "Total": 3},
            ),
        ),
        cpu_period=100_000,
        cpu_shares=512,
        memory_limit=0,
        memory_reservation=0,
    )


def test_hybrid() -> None:
    """On a hybrid host the figures come from the v1 hierarchies."""
    metrics = read(v1(DATA / "hybrid-6.18"))
    assert (metrics.periods, metrics.throttled_periods, metrics.throttled) == (21, 9, 412_345_678)
    assert (metrics.cpu_quota, metrics.cpu_period, metrics.cpu_shares) == (50_000, 100_000, 1024)
    assert (metrics.memory_limit, metrics.swap_limit) == (256 * MIB, 384 * MIB)
    (device,) = metrics.devices
    assert (device.transferred["Write"], device.operations["Write"]) == (20 * MIB, 20)


def test_gone() -> None:
    """A cgroup that is gone has no figures, and raises nothing."""
    assert read(Cgroup(v2="/nonexistent")) == CgroupMetrics()
    assert read(Cgroup(v1={"memory": "/nonexistent"})) == CgroupMetrics()


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("cpu.stat", {"cpu_user", "cpu_system", "periods", "throttled_periods", "throttled"}),
        (
            "memory.stat",
            {"page_cache", "mapped_file", "kernel_memory", "own_page_faults", "own_major_page_faults"},
        ),
        ("memory.events", {"memory_limit_hits", "oom_kills"}),
        ("memory.peak", {"memory_peak"}),
        ("memory.max", {"memory_limit"}),
        ("memory.low", {"memory_reservation"}),
        ("memory.swap.max", {"swap_limit"}),
        ("cpu.max", {"cpu_quota", "cpu_period"}),
        ("cpu.weight", {"cpu_shares"}),
        ("pids.max", {"tasks_max"}),
        ("io.stat", {"devices"}),
        ("hugetlb.2MB.current", {"huge_pages"}),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"garbage", b"-1\n", b"99999999999999999999999\n", b"\xff \xfe\n"])
def test_lost_file(tmp_path: Path, file: str, lost: set[str], content: bytes | None) -> None:
    """A file that is missing or has garbage takes its own figures along, and no other."""
    shutil.copytree(DATA / "v2-6.6", tmp_path / "cgroup")
    cgroup = Cgroup(v2=str(tmp_path / "cgroup"))
    whole = read(cgroup)
    if content is None:
        (tmp_path / "cgroup" / file).unlink()
    else:
        (tmp_path / "cgroup" / file).write_bytes(content)
    damaged = read(cgroup)
    names = {member.name for member in fields(CgroupMetrics)}
    assert {name for name in names if getattr(damaged, name) != getattr(whole, name)} == lost
    assert not any(getattr(damaged, name) for name in lost)


@given(st.binary())
def test_any_text(text: bytes) -> None:
    """The parsers take any bytes."""
    for version in (1, 2):
        parse_memory_stat(text, version=version)
    for parse in (parse_cpu_stat, parse_cpu_stat_v1, parse_cpuacct_stat, parse_io_stat, parse_blkio):
        parse(text)
