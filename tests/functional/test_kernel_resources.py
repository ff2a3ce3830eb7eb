"""Limits and identities of real containers in the kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from criwist.errors import FailedPrecondition, InvalidArgument, NotFound
from criwist.interfaces.kernel import CgroupWrites
from criwist.kernel.cgroup.paths import Cgroup, process_cgroup
from criwist.kernel.cgroup.resources import read_limits, read_unified, write_resources
from criwist.kernel.process_identity import read_identity
from tests.harness import images
from tests.harness.engine import Engine

_MIB = 1 << 20


@pytest.fixture
def run(engine: Engine) -> Iterator[Callable[..., tuple[str, int]]]:
    """A function that runs a container, removed after the test, and returns its id and pid."""
    made: list[str] = []

    def start(body: dict[str, Any] | None = None, **host_config: Any) -> tuple[str, int]:
        body = {"Image": images.BUSYBOX, "Cmd": ["sleep", "1000"], **(body or {})}
        body["HostConfig"] = {"NetworkMode": "none", **host_config}
        identifier = engine.post("/containers/create", body)["Id"]
        made.append(identifier)
        engine.post(f"/containers/{identifier}/start")
        return identifier, engine.inspect(identifier)["State"]["Pid"]

    yield start
    for identifier in made:
        engine.delete(f"/containers/{identifier}", force="1", v="1")


def _cgroup(identifier: str, pid: int) -> Cgroup:
    return process_cgroup(pid, identifier)


def _tasks_of_a_scope() -> int | None:
    """Return systemd's default limit of tasks for a container's scope; None: there is none."""
    if os.environ.get("CRIWIST_TEST_SYSTEMD_CGROUPS") != "1":
        return None
    command = ["systemctl", "show", "--value", "--property=DefaultTasksMax"]
    limit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None if limit == "infinity" else int(limit)


def test_exiting_process(run: Callable[..., tuple[str, int]]) -> None:
    """A process that has exited, and is not reaped, is never found in a cgroup that is not its container's."""
    identifier, pid = run()
    with subprocess.Popen(["sleep", "1000"]) as member:
        try:
            for directory in _cgroup(identifier, pid).directories():
                Path(directory, "cgroup.procs").write_text(str(member.pid))
            assert _cgroup(identifier, member.pid).directories() == _cgroup(identifier, pid).directories()
        finally:
            member.kill()
        os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
        try:
            directories = _cgroup(identifier, member.pid).directories()
        except NotFound:
            return  # cgroup v1: it is in the root of each hierarchy
        assert all(identifier in directory for directory in directories)


def test_limits_in_force(run: Callable[..., tuple[str, int]]) -> None:
    """The cgroup has the requested limits."""
    identifier, pid = run(
        CpuPeriod=50000, CpuQuota=25000, CpuShares=512, Memory=64 * _MIB, MemorySwap=64 * _MIB, PidsLimit=77,
        CpusetCpus="0", CpusetMems="0",
    )  # fmt: skip
    limits = read_limits(_cgroup(identifier, pid), 512)
    assert (limits.cpu_period, limits.cpu_quota, limits.cpu_shares) == (50000, 25000, 512)
    assert (limits.cpuset_cpus, limits.cpuset_mems) == ("0", "0")
    assert (limits.memory, limits.pids) == (64 * _MIB, 77)
    assert limits.memory_and_swap in (64 * _MIB, None), "None: the kernel does not account swap"


def test_no_limits(run: Callable[..., tuple[str, int]]) -> None:
    """A container without limits has none, and the default shares."""
    identifier, pid = run()
    limits = read_limits(_cgroup(identifier, pid))
    assert (limits.cpu_quota, limits.memory, limits.memory_and_swap) == (None, None, None)
    assert limits.pids == _tasks_of_a_scope()
    assert limits.cpu_shares == 1024
    assert limits.hugepages == {}


def test_update(engine: Engine, run: Callable[..., tuple[str, int]]) -> None:
    """An update by the engine is visible at once."""
    identifier, pid = run(Memory=64 * _MIB, MemorySwap=64 * _MIB)
    cgroup = _cgroup(identifier, pid)
    engine.post(f"/containers/{identifier}/update", {"Memory": 128 * _MIB, "MemorySwap": 128 * _MIB, "CpuQuota": 30000})
    limits = read_limits(cgroup)
    assert (limits.memory, limits.cpu_quota) == (128 * _MIB, 30000)


def test_cgroup_carries_the_id(run: Callable[..., tuple[str, int]]) -> None:
    """Every hierarchy that the engine uses is found under the container's id."""
    identifier, pid = run()
    cgroup = _cgroup(identifier, pid)
    assert identifier in cgroup.directory("memory")
    assert identifier in cgroup.directory("cpu")
    assert identifier in cgroup.directory("pids")


def test_unified_keys(run: Callable[..., tuple[str, int]]) -> None:
    """On v2 a key is written and read again, and a refusal of the kernel is an error; on v1 keys are rejected."""
    cgroup = _cgroup(*run())
    if cgroup.version == 1:
        with pytest.raises(FailedPrecondition, match="cgroup v1"):
            write_resources(cgroup, CgroupWrites({"memory.high": "100000000"}))
        return
    write_resources(cgroup, CgroupWrites({"memory.high": str(64 * _MIB)}))
    tasks = _tasks_of_a_scope()
    by_systemd = {} if tasks is None else {"pids.max": str(tasks)}
    assert read_unified(cgroup, ["memory.high"]) == {"memory.high": str(64 * _MIB)} | by_systemd
    with pytest.raises(InvalidArgument, match=r"unified\[memory\.high\].*memory\.high"):
        write_resources(cgroup, CgroupWrites({"memory.high": "much"}))
    with pytest.raises(FailedPrecondition, match=r"memory\.hihg"):
        write_resources(cgroup, CgroupWrites({"memory.hihg": "1"}))


def test_hugepages(run: Callable[..., tuple[str, int]]) -> None:
    """A written limit of huge pages has effect; without the controller it is rejected with that reason."""
    cgroup = _cgroup(*run())
    if not cgroup.directory("hugetlb"):
        with pytest.raises(FailedPrecondition, match="no hugetlb cgroup controller"):
            write_resources(cgroup, CgroupWrites(hugepages={"2MB": 0}))
        return
    if not list(Path(cgroup.directory("hugetlb")).glob("hugetlb.2MB.*")):
        pytest.skip("this machine has no huge pages of 2 MB")
    write_resources(cgroup, CgroupWrites(hugepages={"2MB": 4 * _MIB}))
    assert read_limits(cgroup).hugepages["2MB"] == 4 * _MIB


def test_user_of_the_first_process(run: Callable[..., tuple[str, int]]) -> None:
    """User, group and supplementary groups are those of the container's first process."""
    _, pid = run({"User": "1003:100"}, GroupAdd=["2000", "3000"])
    identity = read_identity(pid)
    assert (identity.uid, identity.gid) == (1003, 100)
    assert {2000, 3000} <= set(identity.groups)


def test_capabilities(run: Callable[..., tuple[str, int]]) -> None:
    """The process has the requested capabilities."""
    _, pid = run(CapDrop=["ALL"], CapAdd=["NET_RAW"], SecurityOpt=["no-new-privileges"])
    identity = read_identity(pid)
    net_raw = 1 << 13
    assert identity.effective == identity.bounding == net_raw
    assert identity.no_new_privs
