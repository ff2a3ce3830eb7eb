"""The provider of IContainerLogs: where a container's log comes from, and what the daemon asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from criwist.config import Config
from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.logs import IContainerLogs, LoggedContainer
from criwist.logs.containers import SETTLE_LIMIT, ContainerLogs
from criwist.logs.scheduler import RETRY
from criwist.wire.crilog import parse
from tests.logs.engine_formats import json_entry, local_entry
from tests.logs.engine_log import EngineLog, numbered_pieces
from tests.logs.memory_engine import MemoryEngine

CONTAINER = "c" * 64


class Node:
    """An engine's directory, kubelet's, and the logs between them."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.docker = MemoryEngine(EngineFacts(root_directory=str(root / "docker")))
        self.config = Config(root_directory=str(root / "state"), **options)
        self.path = root / "pods" / "a" / "0.log"
        self.engine_directory = root / "docker" / "containers" / CONTAINER
        self.engine_directory.mkdir(parents=True)
        self.engine = EngineLog(self.engine_directory / f"{CONTAINER}-json.log")
        self.logs = self.start()

    def start(self) -> ContainerLogs:
        """Logs as after a start of criwist."""
        self.logs = ContainerLogs(self.config, self.docker, self.reactor)  # type: ignore[arg-type]
        return self.logs

    def container(self, **fields: Any) -> LoggedContainer:
        """The container, about to be started unless *fields* say otherwise."""
        return LoggedContainer(CONTAINER, str(self.path), tty=False, running=False, **fields)

    def turn(self, seconds: float = 1.0) -> None:
        """Let time pass; the kernel's events are read."""
        for _ in range(20):
            for reader in self.reactor.getReaders():
                reader.doRead()
            self.reactor.advance(seconds / 20)

    def settle(self) -> Deferred[None]:
        """The container has exited."""
        return Deferred.fromCoroutine(self.logs.settled(CONTAINER))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with default options."""
    node = Node(tmp_path)
    yield node
    node.logs.stop()


def done(coroutine: Any) -> Any:
    """The result of a coroutine that has one at once."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def test_interface(node: Node) -> None:
    """It provides what the core expects."""
    assert verifyObject(IContainerLogs, node.logs)


def test_follows(node: Node) -> None:
    """The file is there before the container is started, and gets what Docker writes."""
    node.logs.follow(node.container())
    assert node.path.read_bytes() == b""
    node.engine.write(numbered_pieces(0, 3))
    node.turn()
    node.engine.write(numbered_pieces(3, 3))
    node.logs.follow(node.container())
    node.turn()
    assert node.path.read_bytes() == node.engine.lines


def test_settled(node: Node) -> None:
    """The end of a container waits for its last line and no longer."""
    node.logs.follow(node.container())
    node.turn()
    node.engine.write(numbered_pieces(0, 3))
    settled = node.settle()
    node.reactor.advance(0)
    assert settled.called
    assert node.path.read_bytes() == node.engine.lines


@pytest.mark.parametrize("ours", [0, 1, 5])
@pytest.mark.parametrize("dockers", [0, 1, 5])
def test_machine_crash(node: Node, ours: int, dockers: int) -> None:
    """When the machine has lost the end of our file, of Docker's, or of both, the log goes on behind its last line."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 5))
    node.turn()
    node.logs.stop()
    lost = sum(len(json_entry(piece)) for piece in numbered_pieces(5 - dockers, dockers))
    os.truncate(node.engine.path, node.engine.path.stat().st_size - lost)
    os.truncate(node.path, node.path.stat().st_size - 7 * ours)
    node.engine.write(numbered_pieces(5, 3))
    node.start().follow(node.container())
    node.turn()
    numbers = [int(parse(line).content) for line in node.path.read_bytes().splitlines(keepends=True)]
    assert numbers[-3:] == [5, 6, 7]
    kept = {*range(5 - dockers), *numbers}
    assert numbers == sorted(kept)


def test_ended(node: Node) -> None:
    """An ended container's log is not held open; should somebody start the container again, the log goes on."""
    before = len(os.listdir("/proc/self/fd"))
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.turn()
    watched = 1
    assert len(os.listdir("/proc/self/fd")) == before + watched + 2
    node.settle()
    node.turn()
    assert len(os.listdir("/proc/self/fd")) == before + watched
    node.engine.write(numbered_pieces(3, 3))
    node.turn()
    assert node.path.read_bytes() == node.engine.lines
    assert len(os.listdir("/proc/self/fd")) == before + watched
    node.logs.stop()
    node.start().follow(node.container())
    node.turn()
    assert len(os.listdir("/proc/self/fd")) == before + watched
    node.logs.follow(evolve(node.container(), running=True))
    node.turn()
    assert len(os.listdir("/proc/self/fd")) == before + watched + 2


def test_ended_and_removed(node: Node) -> None:
    """Forgetting an ended container, whose files are gone, has nothing to wait for and nothing to complain of."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.turn()
    node.settle()
    node.turn()
    node.engine.path.unlink()
    node.engine_directory.rmdir()
    done(node.logs.forget(CONTAINER))
    assert node.path.read_bytes() == node.engine.lines


def test_settled_limit(node: Node) -> None:
    """A log that cannot be written does not hold up the end of its container for ever, and is written later."""
    node.logs.follow(node.container())
    node.turn()
    node.path.unlink()
    node.path.mkdir()
    node.engine.write(numbered_pieces(0, 3))
    settled = node.settle()
    node.turn(SETTLE_LIMIT - 0.1)
    assert not settled.called
    node.turn(0.2)
    assert settled.called
    node.path.rmdir()
    node.turn(2 * RETRY)
    assert node.path.read_bytes() == node.engine.lines


def test_unknown(node: Node) -> None:
    """Containers that are not followed are settled and forgotten at once, and cannot be reopened."""
    done(node.logs.settled(CONTAINER))
    done(node.logs.forget(CONTAINER))
    with pytest.raises(FailedPrecondition):
        done(node.logs.reopen(CONTAINER))


def test_reopen(node: Node) -> None:
    """Reopening after a rename makes a new file; where none can be made it says why."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.turn()
    node.path.rename(node.path.with_name("0.log.1"))
    node.path.mkdir()
    with pytest.raises(FailedPrecondition, match="Is a directory"):
        done(node.logs.reopen(CONTAINER))
    node.path.rmdir()
    done(node.logs.reopen(CONTAINER))
    node.engine.write(numbered_pieces(3, 3))
    node.turn()
    assert node.path.with_name("0.log.1").read_bytes() + node.path.read_bytes() == node.engine.lines


def test_forget(node: Node) -> None:
    """What a removed container wrote last is written, from files that are gone; nothing of it is held or remembered."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 1))
    node.turn()
    held = len(os.listdir("/proc/self/fd"))
    node.engine.write(numbered_pieces(1, 2))
    node.engine.path.unlink()
    node.engine_directory.rmdir()
    forgotten = Deferred.fromCoroutine(node.logs.forget(CONTAINER))
    node.turn()
    assert forgotten.called
    assert node.path.read_bytes() == node.engine.lines
    assert len(os.listdir("/proc/self/fd")) == held - 2
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == []


def test_reconcile(node: Node) -> None:
    """What is not known any more is forgotten, followed or not."""
    node.logs.follow(node.container())
    node.turn()
    node.logs.stop()
    node.start()
    done(node.logs.reconcile([CONTAINER]))
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == [CONTAINER]
    done(node.logs.reconcile([]))
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == []


def test_stop(node: Node) -> None:
    """After the end nothing is open or due, and a start goes on."""
    before = len(os.listdir("/proc/self/fd"))
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.turn()
    node.logs.stop()
    assert node.reactor.getDelayedCalls() == []
    assert node.reactor.getReaders() == []
    assert len(os.listdir("/proc/self/fd")) == before
    node.engine.write(numbered_pieces(3, 3))
    node.start().follow(node.container())
    node.turn()
    assert node.path.read_bytes() == node.engine.lines


def test_local(node: Node) -> None:
    """The file of the driver local is followed, though its directory is made only when the container starts."""
    engine = EngineLog(node.engine_directory / "local-logs" / "container.log", entry=local_entry)
    node.logs.follow(node.container(driver="local"))
    node.turn()
    engine.write(numbered_pieces(0, 3))
    node.turn()
    engine.write(numbered_pieces(3, 3))
    node.turn()
    assert node.path.read_bytes() == engine.lines


def test_cached(node: Node) -> None:
    """So is the copy that the engine keeps for drivers that cannot be read back."""
    engine = EngineLog(node.engine_directory / "container-cached.log", entry=local_entry)
    node.logs.follow(node.container(driver="syslog"))
    engine.write(numbered_pieces(0, 3))
    node.logs.follow(evolve(node.container(driver="syslog"), running=True))
    node.turn()
    assert node.path.read_bytes() == engine.lines
    assert node.docker.requests == []


def test_not_cached(node: Node) -> None:
    """Where there is no such copy, the engine is asked once the container runs."""
    node.logs.follow(node.container(driver="syslog"))
    node.turn()
    assert node.docker.requests == []
    node.logs.follow(evolve(node.container(driver="syslog"), running=True))
    assert len(node.docker.requests) == 1


def test_far_engine(tmp_path: Path) -> None:
    """An engine whose files are not here is asked."""
    node = Node(tmp_path)
    node.engine_directory.rmdir()
    node.logs.follow(node.container())
    assert len(node.docker.requests) == 1
    node.logs.stop()


def test_none(node: Node) -> None:
    """The driver none has one line in the log, however often it is followed, rotated and started."""
    node.logs.follow(node.container(driver="none"))
    (line,) = node.path.read_bytes().splitlines(keepends=True)
    assert b"log driver none" in parse(line).content
    node.logs.follow(node.container(driver="none"))
    done(node.logs.settled(CONTAINER))
    node.logs.stop()
    node.start().follow(node.container(driver="none"))
    assert node.path.read_bytes() == line
    node.path.rename(node.path.with_name("0.log.1"))
    done(node.logs.reopen(CONTAINER))
    assert node.path.read_bytes() == b""
    done(node.logs.forget(CONTAINER))


# -- Links


def test_adopted(node: Node) -> None:
    """A container of an older shim keeps its link to Docker's file; a lost one is made anew."""
    node.path.parent.mkdir(parents=True)
    node.path.symlink_to(node.engine.path)
    node.engine.write(numbered_pieces(0, 1))
    container = evolve(node.container(engine_path=str(node.engine.path)), running=True)
    node.logs.follow(container)
    node.turn()
    assert node.path.readlink() == node.engine.path
    renamed = node.path.with_name("0.log.1")
    node.path.rename(renamed)
    done(node.logs.reopen(CONTAINER))
    assert node.path.readlink() == node.engine.path
    assert not renamed.is_symlink()
    node.path.unlink()
    node.logs.follow(container)
    assert node.path.readlink() == node.engine.path
    done(node.logs.forget(CONTAINER))
    assert not node.path.is_symlink()


def test_said_to_be_adopted(node: Node) -> None:
    """One that is said to be of an older shim gets its link back."""
    node.logs.follow(node.container(engine_path=str(node.engine.path), adopted=True))
    assert node.path.readlink() == node.engine.path


def test_planted_link(node: Node) -> None:
    """A link to anything else is not kept, and not written through."""
    secret = node.path.parent.parent / "secret"
    node.path.parent.mkdir(parents=True)
    secret.write_bytes(b"secret")
    node.path.symlink_to(secret)
    node.engine.write(numbered_pieces(0, 1))
    node.logs.follow(node.container())
    node.turn()
    assert node.path.read_bytes() == node.engine.lines
    assert secret.read_bytes() == b"secret"


def test_symlink_mode(tmp_path: Path) -> None:
    """With log mode symlink new containers get links, and those that had a file keep it."""
    node = Node(tmp_path, log_mode="symlink")
    node.logs.follow(node.container())
    assert node.path.readlink() == node.engine.path
    node.logs.stop()
    other = Node(tmp_path / "other")
    other.logs.follow(other.container())
    other.turn()
    other.logs.stop()
    other.config = evolve(other.config, log_mode="symlink")
    other.start().follow(other.container())
    assert not other.path.is_symlink()
    other.logs.stop()


def test_symlink_mode_without_file(tmp_path: Path) -> None:
    """Where Docker writes no JSON file there is nothing to link to."""
    node = Node(tmp_path, log_mode="symlink")
    node.logs.follow(node.container(driver="local"))
    assert not os.path.lexists(node.path)
    with pytest.raises(FailedPrecondition, match="local"):
        done(node.logs.reopen(CONTAINER))


# -- Options


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"container_log_driver": "local"}, {"Type": "local", "Config": {}}),
        (
            {"container_log_driver": "json-file", "container_log_max_size": "10m"},
            {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        ),
        (
            {"container_log_driver": "json-file", "container_log_max_size": "10m", "container_log_max_files": 5},
            {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}},
        ),
    ],
)
def test_container_options(tmp_path: Path, options: dict[str, Any], expected: dict[str, Any]) -> None:
    """Driver and sizes are Docker's options; with a size there are two files at least, so that none is emptied."""
    assert Node(tmp_path, **options).logs.container_options() == expected
