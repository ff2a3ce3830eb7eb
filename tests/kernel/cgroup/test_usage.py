"""Usage in the files of cgroups of version 1, version 2 and both; see data/README.md."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from criwist.interfaces.kernel import CgroupUsage, Pressure, PressureShare
from criwist.kernel.cgroup.counters import counter
from criwist.kernel.cgroup.cpu_stats import parse_cpu_stat
from criwist.kernel.cgroup.memory_stats import parse_memory_stat
from criwist.kernel.cgroup.paths import Cgroup
from criwist.kernel.cgroup.pressure import parse_pressure
from criwist.kernel.cgroup.usage import read_usage

DATA = Path(__file__).parent / "data"
MIB = 1 << 20


def v1(root: Path) -> Cgroup:
    """Return a cgroup whose v1 hierarchies, and v2 if there is one, are the directories in *root*."""
    found = {child.name: str(child) for child in root.iterdir()}
    return Cgroup(v2=found.pop("unified", ""), v1=found)


def no_rate(cpu: int) -> int | None:
    """Return the rate of a first reading."""
    return None


def read(cgroup: Cgroup) -> CgroupUsage:
    """Return the usage; the clock ticks with each look at it."""
    clock = itertools.count(100)
    usage = read_usage(cgroup, no_rate, lambda: next(clock))
    assert usage is not None
    return usage


def test_v2() -> None:
    """Version 2 has all figures; microseconds are reported as nanoseconds."""
    pressure = Pressure(PressureShare(123_935_000, 1.5, 0.25, 0.03), PressureShare(116_230_000, 0.5, 0.16, 0.02))
    assert read(Cgroup(v2=str(DATA / "v2-6.6"))) == CgroupUsage(
        cpu_timestamp=100,
        timestamp=101,
        cpu=12_849_502_000,
        memory=200 * MIB,
        working_set=140 * MIB,
        rss=100 * MIB,
        memory_limit=256 * MIB,
        page_faults=31_033,
        major_page_faults=13,
        swap=MIB,
        swap_limit=128 * MIB,
        tasks=9,
        cpu_pressure=pressure,
        memory_pressure=pressure,
        io_pressure=pressure,
    )


def test_v2_without_limits() -> None:
    """``max`` is no limit, and a pressure file may lack the line ``full``."""
    usage = read(Cgroup(v2=str(DATA / "v2-5.10")))
    assert (usage.memory_limit, usage.swap_limit, usage.swap) == (None, None, 0)
    assert (usage.memory, usage.working_set) == (8192, 4096)
    assert usage.cpu_pressure == Pressure(PressureShare(0, 0.0, 0.0, 0.0), None)
    assert usage.io_pressure is None


def test_v1() -> None:
    """Version 1 counts the cgroups below; the limit of a cgroup above is not this one's."""
    assert read(v1(DATA / "v1-4.19")) == CgroupUsage(
        cpu_timestamp=100,
        timestamp=101,
        cpu=73_400_320_123,
        memory=200 * MIB,
        working_set=140 * MIB - 1,
        rss=101 * MIB,
        page_faults=31_033,
        major_page_faults=13,
        tasks=7,
    )


def test_hybrid() -> None:
    """On a hybrid host figures come from the v1 hierarchies and pressure from the v2 hierarchy."""
    usage = read(v1(DATA / "hybrid-6.18"))
    assert usage.cpu == 1_537_650_244
    assert (usage.memory, usage.working_set) == (81_793_024, 81_793_024 - 21_057_536)
    assert (usage.memory_limit, usage.swap, usage.swap_limit) == (256 * MIB, 0, 128 * MIB)
    assert usage.cpu_pressure is not None
    assert usage.cpu_pressure.some == PressureShare(123_935_000, 0.9, 0.16, 0.03)


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("cpu.stat", {"cpu"}),
        ("memory.current", {"memory", "working_set"}),
        ("memory.stat", {"working_set", "rss", "page_faults", "major_page_faults"}),
        ("memory.max", {"memory_limit"}),
        ("memory.swap.current", {"swap"}),
        ("memory.swap.max", {"swap_limit"}),
        ("pids.current", {"tasks"}),
        ("cpu.pressure", {"cpu_pressure"}),
        ("memory.pressure", {"memory_pressure"}),
        ("io.pressure", {"io_pressure"}),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"garbage", b"-1\n", b"99999999999999999999999\n", b"\xff \xfe\n"])
def test_lost_file(tmp_path: Path, file: str, lost: set[str], content: bytes | None) -> None:
    """A file that is missing or has garbage takes its own figures along, and no other."""
    shutil.copytree(DATA / "v2-6.6", tmp_path / "cgroup")
    whole = read(Cgroup(v2=str(tmp_path / "cgroup")))
    (tmp_path / "cgroup" / file).unlink()
    if content is not None:
        (tmp_path / "cgroup" / file).write_bytes(content)
    usage = read(Cgroup(v2=str(tmp_path / "cgroup")))
    names = {attribute.name for attribute in fields(CgroupUsage)}
    assert {name for name in names if getattr(usage, name) != getattr(whole, name)} == lost
    assert all(getattr(usage, name) is None for name in lost)


def test_missing_controllers(tmp_path: Path) -> None:
    """A v1 host without some controllers has the figures of the others."""
    cgroup = Cgroup({"cpuacct": str(DATA / "v1-4.19" / "cpuacct")})
    assert read(cgroup) == CgroupUsage(100, 101, cpu=73_400_320_123)


def test_cgroup_that_is_gone(tmp_path: Path) -> None:
    """A removed cgroup has no usage, and neither has one in no hierarchy."""
    assert read_usage(Cgroup(v2=str(tmp_path / "gone")), no_rate) is None
    assert read_usage(Cgroup(), no_rate) is None
    half = {"cpuacct": str(DATA / "v1-4.19" / "cpuacct"), "memory": str(tmp_path / "gone")}
    assert read_usage(Cgroup(half), no_rate) is None, "removed in one hierarchy after the other"


def test_working_set_is_never_negative(tmp_path: Path) -> None:
    """Page cache that grew between two files does not make the working set negative."""
    shutil.copytree(DATA / "v2-6.6", tmp_path / "cgroup")
    (tmp_path / "cgroup" / "memory.current").write_text("4096\n")
    assert read(Cgroup(v2=str(tmp_path / "cgroup"))).working_set == 0


@given(st.binary())
def test_any_bytes(text: bytes) -> None:
    """Parsers return what they can of any bytes, and raise nothing."""
    counter(text)
    parse_cpu_stat(text)
    parse_memory_stat(text, version=1)
    parse_memory_stat(text, version=2)
    parse_pressure(text)


@given(st.integers(0, 2**70))
def test_counters_have_64_bits(number: int) -> None:
    """A number of more than 64 bits is no counter."""
    assert counter(b"%d\n" % number) == (number if number < 2**64 else None)
