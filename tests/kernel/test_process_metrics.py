"""The processes of a container, counted, in a /proc made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criwist.interfaces.kernel_metrics import ProcessMetrics
from criwist.kernel import process_metrics
from criwist.kernel.process_metrics import parse_open_files_limit, pids_below, read_processes

ID = "0123456789abcdef" * 4
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max cpu time              unlimited            unlimited            seconds   \n"
    "Max open files            1024                 1048576              files     \n"
    "Max locked memory         unlimited            unlimited            bytes     \n"
)


class Host:
    """A host with a cgroup and processes."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.cgroup = root / "cgroup" / ID
        self.cgroup.mkdir(parents=True)

    def run(self, pid: int, descriptors: dict[int, str], cgroup: str = f"/docker/{ID}") -> None:
        """Make a process."""
        process = self.proc / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "cgroup").write_text(f"0::{cgroup}\n")
        (process / "limits").write_text(LIMITS)
        for number, target in descriptors.items():
            (process / "fd" / str(number)).symlink_to(target)

    def contain(self, *pids: int, below: str = ".") -> None:
        """Write the processes of a cgroup."""
        (self.cgroup / below).mkdir(exist_ok=True)
        (self.cgroup / below / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def read(self) -> ProcessMetrics:
        """Return the figures."""
        return read_processes(7, ID, str(self.cgroup), str(self.proc))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose /proc does not tell the number of descriptors, as before Linux 6.2."""

    def without_size(path: str, *, dir_fd: int) -> os.stat_result:
        return os.stat_result((0o40500, 1, 1, 1, 0, 0, 0, 0, 0, 0))

    monkeypatch.setattr(process_metrics, "status", without_size)
    host = Host(tmp_path)
    host.run(7, {0: "/dev/null", 1: "pipe:[1]", 5: "socket:[2]"})
    host.run(8, {0: "socket:[3]", 1: "socket:[2]"})
    host.contain(7)
    host.contain(8, below="below")
    return host


def test_processes(host: Host) -> None:
    """Processes of the cgroup and those below it count, with their descriptors and the sockets among these."""
    assert host.read() == ProcessMetrics(processes=2, descriptors=5, sockets=3, open_files_limit=1024)


def test_the_number_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.2 and later tell the number of descriptors as the size of the directory."""

    def with_size(path: str, *, dir_fd: int) -> os.stat_result:
        return os.stat_result((0o40500, 1, 1, 1, 0, 0, 1000, 0, 0, 0))

    monkeypatch.setattr(process_metrics, "status", with_size)
    assert host.read() == ProcessMetrics(processes=2, descriptors=2000, sockets=3, open_files_limit=1024)


def test_stranger(host: Host) -> None:
    """A pid that another process has by now is not read."""
    host.run(9, {0: "socket:[9]"}, cgroup="/user.slice")
    host.contain(7, 9, 10)
    assert host.read() == ProcessMetrics(processes=4, descriptors=5, sockets=3, open_files_limit=1024)


def test_bounds(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds there is no figure, rather than a wrong one."""
    monkeypatch.setattr(process_metrics, "MOST_LINKS", 4)
    assert host.read() == ProcessMetrics(processes=2, descriptors=5, open_files_limit=1024)
    monkeypatch.setattr(process_metrics, "MOST_PROCESSES", 1)
    assert host.read() == ProcessMetrics(processes=2, open_files_limit=1024)
    monkeypatch.setattr(process_metrics, "MOST_CGROUPS", 1)
    assert host.read() == ProcessMetrics(open_files_limit=1024)


def test_gone(host: Host) -> None:
    """A container that has ended has no processes and no limit."""
    assert read_processes(99, ID, "/nonexistent", str(host.proc)) == ProcessMetrics(
        processes=0, descriptors=0, sockets=0
    )


def test_limits() -> None:
    """The soft limit of open files is found among the others; ``unlimited`` is -1."""
    assert parse_open_files_limit(LIMITS) == 1024
    assert parse_open_files_limit(LIMITS.replace("1024 ", "unlimited ")) == -1
    assert parse_open_files_limit("Max open files\n") is None


def test_threaded_cgroup(host: Host) -> None:
    """A cgroup whose processes the kernel does not list has no number of processes."""
    (host.cgroup / "cgroup.procs").unlink()
    (host.cgroup / "cgroup.procs").mkdir()
    assert pids_below(str(host.cgroup)) is None
