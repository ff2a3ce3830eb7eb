"""The walk through a tree that a container writes to."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from criwist.kernel import disk_usage as module
from criwist.kernel.disk_usage import Stopped, disk_usage


def never(seconds: float) -> bool:
    """Rest for no time, and go on."""
    return False


def allocated(*paths: Path) -> int:
    """Return the bytes that files and directories have on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in paths)


def test_files_and_directories(tmp_path: Path) -> None:
    """Bytes are those on the disk, and every inode is counted once, the top included."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "again").hardlink_to(below / "file")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    usage = disk_usage(str(tmp_path), never)
    assert usage.inodes == 5
    assert usage.used_bytes == allocated(tmp_path, tmp_path / "a", below, below / "file", tmp_path / "sparse")
    assert 100_000 <= usage.used_bytes < 1 << 20


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link counts as itself, wherever it leads."""
    outside, top = tmp_path / "outside", tmp_path / "top"
    outside.mkdir()
    top.mkdir()
    (outside / "file").write_bytes(b"x" * 1_000_000)
    (top / "directory").symlink_to(outside)
    (top / "up").symlink_to("..")
    assert disk_usage(str(top), never).inodes == 3
    link = tmp_path / "link"
    link.symlink_to(outside)
    with pytest.raises(OSError, match="link"):
        disk_usage(str(link), never)


def test_deep_tree(tmp_path: Path) -> None:
    """A tree that is deeper than a path may be long, and than descriptors may be open, is walked whole."""
    depth = 1500
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory", dir_fd=descriptor)
        below = os.open("directory", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    assert disk_usage(str(tmp_path), never).inodes == depth + 1
    subprocess.run(["rm", "-r", str(tmp_path / "directory")], check=True)  # deeper than shutil.rmtree reaches


def test_special_files(tmp_path: Path) -> None:
    """Pipes and the like are counted and not opened."""
    os.mkfifo(tmp_path / "pipe")
    assert disk_usage(str(tmp_path), never).inodes == 2


def pacing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], bool]) -> Callable[[float], bool]:
    """Have the walk rest at every chance; *act* returns whether it is to stop."""
    monkeypatch.setattr(module, "SLICE", 0.0)
    return lambda seconds: act()


def test_it_rests(tmp_path: Path) -> None:
    """The walk rests nine times as long as it worked."""
    clock = itertools.count()
    rests: list[float] = []

    def rest(seconds: float) -> bool:
        rests.append(seconds)
        return False

    disk_usage(str(tmp_path), rest, lambda: float(next(clock)))
    assert rests == [pytest.approx(9.0)]


def test_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that is told to stop does so, and leaves no descriptor open."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Stopped):
        disk_usage(str(tmp_path), pacing(monkeypatch, lambda: True))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_directory_that_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is moved out while the walk is in it does not lead the walk out of the tree."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "z").mkdir()
    outside.mkdir()
    for number in range(50):
        (outside / str(number)).mkdir()
    steps = iter(range(1000))

    def act() -> bool:
        if (top / "a" / "b").exists() and next(steps) >= 2:
            (top / "a" / "b").rename(outside / "b")
        return False

    usage = disk_usage(str(top), pacing(monkeypatch, act))
    assert usage.inodes <= 5


def test_directory_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is removed while the walk is above or in it is left out."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    steps = iter(range(1000))

    def act() -> bool:
        if next(steps) == 1:
            (tmp_path / "a" / "b").rmdir()
            (tmp_path / "a").rmdir()
        return False

    assert disk_usage(str(tmp_path), pacing(monkeypatch, act)).inodes in (2, 3)
    with pytest.raises(OSError, match="No such file"):
        disk_usage(str(tmp_path / "gone"), never)
