"""One inotify descriptor for all files, of the running kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from criwist.logs.inotify import MISSING, READ_INTERVAL, REFUSED, Inotify


class Node:
    """An inotify descriptor on a reactor that reads when the test asks for it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.inotify = Inotify(self.reactor)
        self.inotify.start()
        self.called: list[str] = []

    def callback(self, name: str) -> Any:
        """Return a callback that records *name*."""
        return lambda: self.called.append(name)

    def read(self) -> list[str]:
        """Read the pending events; return the names of the callbacks that were called."""
        self.called.clear()
        if self.inotify in self.reactor.getReaders():
            self.inotify.doRead()
        self.reactor.advance(READ_INTERVAL)
        return sorted(self.called)


@pytest.fixture
def node() -> Iterator[Node]:
    """A started inotify descriptor."""
    node = Node()
    yield node
    node.inotify.stop()
    assert node.reactor.getReaders() == []
    assert node.reactor.getDelayedCalls() == []


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def test_once(node: Node, tmp_path: Path) -> None:
    """A file's callback is called once, however often the file changes, until the file is watched again."""
    path = tmp_path / "a"
    path.touch()
    assert node.inotify.watch_file_once(str(path), node.callback("a")) >= 0
    _append(path)
    _append(path)
    assert node.read() == ["a"]
    _append(path)
    assert node.read() == []
    node.inotify.watch_file_once(str(path), node.callback("a"))
    _append(path)
    assert node.read() == ["a"]


def test_directory(node: Node, tmp_path: Path) -> None:
    """A directory's callback is called once a read for files made in it or moved to it, and for its removal."""
    directory = tmp_path / "d"
    directory.mkdir()
    node.inotify.watch_directory(str(directory), node.callback("d"))
    (directory / "a").touch()
    (directory / "b").touch()
    assert node.read() == ["d"]
    (directory / "a").rename(directory / "c")
    assert node.read() == ["d"]
    (directory / "b").unlink()
    assert node.read() == []
    (directory / "c").unlink()
    directory.rmdir()
    assert node.read() == ["d"]


def test_missing(node: Node, tmp_path: Path) -> None:
    """A watch on a missing path returns MISSING."""
    assert node.inotify.watch_file_once(str(tmp_path / "a"), node.callback("a")) == MISSING
    assert node.inotify.watch_directory(str(tmp_path / "a"), node.callback("a")) == MISSING
    node.inotify.unwatch(MISSING)


def test_unwatch(node: Node, tmp_path: Path) -> None:
    """The callback of a removed watch is not called."""
    path = tmp_path / "a"
    path.touch()
    watch = node.inotify.watch_file_once(str(path), node.callback("a"))
    _append(path)
    node.inotify.unwatch(watch)
    node.inotify.unwatch(watch)
    assert node.read() == []


def test_gathers(node: Node, tmp_path: Path) -> None:
    """After a read, reading pauses while events gather."""
    path = tmp_path / "a"
    path.touch()
    node.inotify.watch_file_once(str(path), node.callback("a"))
    _append(path)
    node.inotify.doRead()
    assert node.reactor.getReaders() == []
    node.reactor.advance(READ_INTERVAL)
    assert node.reactor.getReaders() == [node.inotify]


def test_overflow(node: Node, tmp_path: Path) -> None:
    """When the kernel has lost events, all callbacks are called."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
        node.inotify.watch_file_once(str(tmp_path / name), node.callback(name))
    read, write = os.pipe()
    os.write(write, (-1).to_bytes(4, "little", signed=True) + (0x4000).to_bytes(4, "little") + bytes(8))
    os.close(write)
    kept, node.inotify._descriptor = node.inotify._descriptor, read
    assert node.read() == ["a", "b"]
    os.close(read)
    node.inotify._descriptor = kept


def test_not_started(tmp_path: Path) -> None:
    """Without a descriptor every watch is refused."""
    assert Inotify(MemoryReactorClock()).watch_file_once(str(tmp_path), lambda: None) == REFUSED
