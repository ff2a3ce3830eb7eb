"""One inotify descriptor for all files; the kernel's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from criwist.logs.inotify import GATHER, MISSING, REFUSED, Inotify


class Node:
    """A watch on a reactor that reads when it is told to."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.watch = Inotify(self.reactor)
        self.watch.start()
        self.called: list[str] = []

    def call(self, name: str) -> Any:
        """Something to call."""
        return lambda: self.called.append(name)

    def read(self) -> list[str]:
        """Deliver the events that there are; who was called."""
        self.called.clear()
        if self.watch in self.reactor.getReaders():
            self.watch.doRead()
        self.reactor.advance(GATHER)
        return sorted(self.called)


@pytest.fixture
def node() -> Iterator[Node]:
    """A watch."""
    node = Node()
    yield node
    node.watch.stop()
    assert node.reactor.getReaders() == []
    assert node.reactor.getDelayedCalls() == []


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def test_once(node: Node, tmp_path: Path) -> None:
    """A file's watcher is called once, however often the file changes, until it asks again."""
    path = tmp_path / "a"
    path.touch()
    assert node.watch.once(str(path), node.call("a")) >= 0
    _append(path)
    _append(path)
    assert node.read() == ["a"]
    _append(path)
    assert node.read() == []
    node.watch.once(str(path), node.call("a"))
    _append(path)
    assert node.read() == ["a"]


def test_directory(node: Node, tmp_path: Path) -> None:
    """A directory's watcher is called for what is made in it or moved there, once a read, and for its end."""
    directory = tmp_path / "d"
    directory.mkdir()
    node.watch.directory(str(directory), node.call("d"))
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
    """What does not exist cannot be watched, and that is said."""
    assert node.watch.once(str(tmp_path / "a"), node.call("a")) == MISSING
    assert node.watch.directory(str(tmp_path / "a"), node.call("a")) == MISSING
    node.watch.forget(MISSING)


def test_forget(node: Node, tmp_path: Path) -> None:
    """Who is forgotten is not called."""
    path = tmp_path / "a"
    path.touch()
    watch = node.watch.once(str(path), node.call("a"))
    _append(path)
    node.watch.forget(watch)
    node.watch.forget(watch)
    assert node.read() == []


def test_gathers(node: Node, tmp_path: Path) -> None:
    """After a read there is a pause, in which events gather."""
    path = tmp_path / "a"
    path.touch()
    node.watch.once(str(path), node.call("a"))
    _append(path)
    node.watch.doRead()
    assert node.reactor.getReaders() == []
    node.reactor.advance(GATHER)
    assert node.reactor.getReaders() == [node.watch]


def test_overflow(node: Node, tmp_path: Path) -> None:
    """When the kernel has lost events, everybody is called."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
        node.watch.once(str(tmp_path / name), node.call(name))
    read, write = os.pipe()
    os.write(write, (-1).to_bytes(4, "little", signed=True) + (0x4000).to_bytes(4, "little") + bytes(8))
    os.close(write)
    kept, node.watch._descriptor = node.watch._descriptor, read
    assert node.read() == ["a", "b"]
    os.close(read)
    node.watch._descriptor = kept


def test_not_started(tmp_path: Path) -> None:
    """Without a descriptor everything is refused."""
    assert Inotify(MemoryReactorClock()).once(str(tmp_path), lambda: None) == REFUSED
