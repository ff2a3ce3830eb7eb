"""Metrics of containers, in a /proc, a /sys and cgroups made for the test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel_metrics import IContainerMetrics
from criwist.kernel.block_devices import device_name
from criwist.kernel.container_metrics import ContainerMetrics
from criwist.kernel.usage import Usage
from tests.kernel.cgroup.test_usage import DATA
from tests.kernel.test_process_metrics import LIMITS
from tests.kernel.test_usage import ID, PID, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with one container, whose disk has a name."""
    host = Host(tmp_path)
    host.write("sys/dev/block/254:0/uevent", "MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n")
    host.write(f"proc/{PID}/limits", LIMITS)
    (host.pod / ID / "cgroup.procs").write_text(f"{PID}\n")
    return host


@pytest.fixture
def metrics(host: Host) -> ContainerMetrics:
    """Its metrics."""
    return ContainerMetrics(Usage(f"{host.root}/proc"), f"{host.root}/proc", f"{host.root}/sys")


def test_container(metrics: ContainerMetrics) -> None:
    """A container has the figures of its cgroup and its processes; devices have names."""
    verifyObject(IContainerMetrics, metrics)
    found = metrics.container(PID, ID, 0)
    assert found is not None
    assert (found.oom_kills, found.cpu_quota) == (3, 50_000)
    assert [device.device for device in found.devices] == ["8:16", "/dev/vda"]
    processes = metrics.processes(PID, ID)
    assert processes is not None
    assert (processes.processes, processes.open_files_limit) == (1, 1024)


def test_stranger(metrics: ContainerMetrics, host: Host) -> None:
    """A process of another container, and one that has ended, have no figures."""
    for pid, identifier in ((PID, "f" * 64), (99, ID), (0, ID)):
        assert metrics.container(pid, identifier, 0) is None
        assert metrics.processes(pid, identifier) is None
        assert metrics.parent(pid, identifier, "/kubepods/pod1") is None


def test_parent(metrics: ContainerMetrics) -> None:
    """The cgroup above has figures if it is the one that the pod names."""
    above = metrics.parent(PID, ID, "/kubepods/pod1")
    assert above is not None
    assert above.oom_kills == 0
    assert metrics.parent(PID, ID, "/kubepods") is None


def test_parent_on_v1(metrics: ContainerMetrics, host: Host) -> None:
    """Version 1 does not add up the kills of the cgroups below, so the cgroup above has none."""
    shutil.rmtree(host.root / "cgroup")
    for name in ("memory", "pids"):
        shutil.copytree(DATA / "v1-4.19" / name, host.root / "cgroup" / name / "kubepods/pod1")
        shutil.copytree(DATA / "v1-4.19" / name, host.root / "cgroup" / name / f"kubepods/pod1/{ID}")
    lines = (f"3{n} 1 0:2{n} / {host.root}/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for n, name in NUMBERED)
    host.write("proc/self/mountinfo", "".join(lines))
    host.write(f"proc/{PID}/cgroup", "".join(f"{n}:{name}:/kubepods/pod1/{ID}\n" for n, name in NUMBERED))
    found, above = metrics.container(PID, ID, 0), metrics.parent(PID, ID, "/kubepods/pod1")
    assert found is not None
    assert above is not None
    assert (found.oom_kills, above.oom_kills) == (3, None)
    assert above.memory_limit_hits == 17


NUMBERED = ((1, "memory"), (2, "pids"))


def test_filesystem(metrics: ContainerMetrics, tmp_path: Path) -> None:
    """A directory's file system has a size and inodes; one that is not there has none."""
    status = os.statvfs(tmp_path)
    found = metrics.filesystem(str(tmp_path))
    assert found is not None
    assert (found.size, found.inodes) == (status.f_blocks * status.f_frsize, status.f_files)
    assert metrics.filesystem("/nonexistent") is None


@pytest.mark.parametrize("text", ["", "DEVNAME=\n", "DEVNAME=a b\n", "MAJOR=8\n"])
def test_device_without_a_name(host: Host, text: str) -> None:
    """A device that has no usable name is named by its numbers."""
    host.write("sys/dev/block/1:2/uevent", text)
    assert device_name(1, 2, f"{host.root}/sys") == "1:2"
    assert device_name(1, 3, f"{host.root}/sys") == "1:3"
