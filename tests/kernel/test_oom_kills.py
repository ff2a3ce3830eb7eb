"""The kernel's log of kills, from records as they are read from /dev/kmsg."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from criwist.interfaces.kernel_metrics import IOomKills, NoOomKills
from criwist.kernel.oom_kills import OomKills, killed_container

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


def line(path: str, task: str = "tail") -> bytes:
    """Return the record of a kill, Linux 5.0 and later."""
    return (
        f"6,1234,5678,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={OTHER},mems_allowed=0,"
        f"oom_memcg={path},task_memcg={path},task={task},pid=7,uid=0\n"
    ).encode()


@pytest.mark.parametrize(
    ("record", "container"),
    [
        (line(f"/docker/{ID}"), ID),
        (line(f"/kubepods.slice/kubepods-pod1.slice/docker-{ID}.scope"), ID),
        (line(f"/kubepods/pod1/{ID}/init.scope"), ID),
        (f"6,1,2,-;Task in /docker/{ID} killed as a result of limit of /kubepods/pod1\n".encode(), ID),
        (line("/system.slice/ssh.service"), None),
        (line("/", f"x,task_memcg=/{ID}"), None),
        (b"6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)\n", None),
        (b"4,1,2,-;tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n", None),
        (b"", None),
    ],
)
def test_record(record: bytes, container: str | None) -> None:
    """The container is the one whose id the victim's cgroup carries, whatever the victim's name is."""
    assert killed_container(record) == container


def test_record_of_a_program() -> None:
    """What a program writes to the log is no kill: the kernel marks it with another facility."""
    assert killed_container(line(f"/docker/{ID}").replace(b"6,", b"14,", 1)) is None


@given(st.binary(max_size=200))
def test_any_record(record: bytes) -> None:
    """Any bytes can be a record."""
    killed_container(b"6,1,2,-;" + record)
    killed_container(record)


def test_interface(tmp_path: Path) -> None:
    """Both providers provide the interface; without the device the log is not available, and has nothing."""
    kills = OomKills(str(tmp_path / "none"))
    verifyObject(IOomKills, kills)
    verifyObject(IOomKills, NoOomKills())
    assert (kills.available, kills.read()) == (False, ())


def test_read(tmp_path: Path) -> None:
    """Each read returns what was written since the last one."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    kills = OomKills(str(path))
    with open(path, "wb", buffering=0) as log:
        assert list(kills.read()) == []
        log.write(line(f"/docker/{ID}"))
        assert list(kills.read()) == [ID]
        assert list(kills.read()) == []
    kills.close()
    kills.close()
    assert not kills.available


def test_what_reading_refuses(tmp_path: Path) -> None:
    """A log that cannot be read is not available from then on."""
    kills = OomKills(str(tmp_path))  # read(2) of a directory fails
    assert list(kills.read()) == []
    assert not kills.available
