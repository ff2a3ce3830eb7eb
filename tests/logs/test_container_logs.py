"""The provider of IContainerLogs: the source of a container's log, and the interface's methods."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from criwist.config import Config
from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.logs import IContainerLogs, LoggedContainer
from criwist.logs.container_logs import SETTLE_TIMEOUT, ContainerLogs
from criwist.logs.scheduler import RETRY_INTERVAL
from criwist.wire.crilog import parse
from tests.logs.engine_formats import json_entry, local_entry
from tests.logs.engine_log import EngineLog, numbered_pieces
from tests.logs.memory_engine import MemoryEngine

CONTAINER = "c" * 64


class Node:
    """An engine's directory, kubelet's directory, and the logs between them."""

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
        """Make the logs anew, as a start of criwist does."""
        self.logs = ContainerLogs(self.config, self.docker, self.reactor)  # type: ignore[arg-type]
        return self.logs

    def container(self, **fields: Any) -> LoggedContainer:
        """Return the container, about to be started unless *fields* differ."""
        return LoggedContainer(CONTAINER, str(self.path), tty=False, running=False, **fields)

    def advance(self, seconds: float = 1.0) -> None:
        """Advance the clock, and read the kernel's events."""
        for _ in range(20):
            for reader in self.reactor.getReaders():
                reader.doRead()
            self.reactor.advance(seconds / 20)

    def settle(self) -> Deferred[None]:
        """Wait for the log of the exited container."""
        return Deferred.fromCoroutine(self.logs.settled(CONTAINER))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with default options."""
    node = Node(tmp_path)
    yield node
    node.logs.stop()


def done(coroutine: Any) -> Any:
    """Return the result of a coroutine that has one at once."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def test_interface(node: Node) -> None:
    """ContainerLogs provides IContainerLogs."""
    assert verifyObject(IContainerLogs, node.logs)


def test_follows(node: Node) -> None:
    """The file exists before the container is started, and gets the lines that Docker records."""
    node.logs.follow(node.container())
    assert node.path.read_bytes() == b""
    node.engine.write(numbered_pieces(0, 3))
    node.advance()
    node.engine.write(numbered_pieces(3, 3))
    node.logs.follow(node.container())
    node.advance()
    assert node.path.read_bytes() == node.engine.lines


def test_settled(node: Node) -> None:
    """The container's exit waits for its last line and no longer."""
    node.logs.follow(node.container())
    node.advance()
    node.engine.write(numbered_pieces(0, 3))
    settled = node.settle()
    node.reactor.advance(0)
    assert settled.called
    assert node.path.read_bytes() == node.engine.lines


@pytest.mark.parametrize("lost_lines", [0, 1, 5])
@pytest.mark.parametrize("lost_entries", [0, 1, 5])
def test_machine_crash(node: Node, lost_lines: int, lost_entries: int) -> None:
    """After a crash that lost the end of the CRI file, of Docker's, or both, the log continues after its last line."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 5))
    node.advance()
    node.logs.stop()
    lost = sum(len(json_entry(piece)) for piece in numbered_pieces(5 - lost_entries, lost_entries))
    os.truncate(node.engine.path, node.engine.path.stat().st_size - lost)
    os.truncate(node.path, node.path.stat().st_size - 7 * lost_lines)
    node.engine.write(numbered_pieces(5, 3))
    node.start().follow(node.container())
    node.advance()
    numbers = [int(parse(line).content) for line in node.path.read_bytes().splitlines(keepends=True)]
    assert numbers[-3:] == [5, 6, 7]
    kept = {*range(5 - lost_entries), *numbers}
    assert numbers == sorted(kept)


def test_ended(node: Node) -> None:
    """The log of an ended container is closed; if the container is started again, the log continues."""
    before = len(os.listdir("/proc/self/fd"))
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.advance()
    descriptors = 1  # of inotify
    assert len(os.listdir("/proc/self/fd")) == before + descriptors + 2
    node.settle()
    node.advance()
    assert len(os.listdir("/proc/self/fd")) == before + descriptors
    node.engine.write(numbered_pieces(3, 3))
    node.advance()
    assert node.path.read_bytes() == node.engine.lines
    assert len(os.listdir("/proc/self/fd")) == before + descriptors
    node.logs.stop()
    node.start().follow(node.container())
    node.advance()
    assert len(os.listdir("/proc/self/fd")) == before + descriptors
    node.logs.follow(evolve(node.container(), running=True))
    node.advance()
    assert len(os.listdir("/proc/self/fd")) == before + descriptors + 2


def write_to_the_end(node: Node) -> None:
    """Have a container write three lines and end; its log is complete."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.advance()
    node.settle()
    node.advance()


def test_ended_and_removed(node: Node) -> None:
    """Forgetting an ended container, whose files Docker has removed, does not wait and does not fail."""
    write_to_the_end(node)
    node.engine.path.unlink()
    node.engine_directory.rmdir()
    done(node.logs.forget(CONTAINER))
    assert node.path.read_bytes() == node.engine.lines


def test_ended_and_removed_before_it_is_forgotten(node: Node) -> None:
    """A log that was complete when Docker removed it is not reported as damaged, and is not waited for."""
    write_to_the_end(node)
    with capturedLogs() as events:
        # As the engine does: it writes the container's state once more.
        (node.engine_directory / "config.v2.json").touch()
        (node.engine_directory / "config.v2.json").unlink()
        node.engine.path.unlink()
        node.engine_directory.rmdir()
        node.advance()
    done(node.logs.forget(CONTAINER))
    assert events == []
    assert node.path.read_bytes() == node.engine.lines


def test_removed_by_kubelet(node: Node) -> None:
    """kubelet removes the log of an ended container before the container: nothing makes it again."""
    write_to_the_end(node)
    node.path.unlink()
    (node.engine_directory / "config.v2.json").touch()  # as an engine does when a removal begins
    node.advance()
    assert not node.path.exists()
    settled = node.settle()
    node.advance()
    assert settled.called
    assert not node.path.exists()
    shutil.rmtree(node.engine_directory)
    node.advance()
    done(node.logs.forget(CONTAINER))
    assert not node.path.exists()


def test_started_again_without_its_file(node: Node) -> None:
    """If an ended container whose log was removed is started again, it has a log again."""
    write_to_the_end(node)
    node.path.unlink()
    node.logs.follow(evolve(node.container(), running=True))
    node.engine.write(numbered_pieces(3, 3))
    node.advance()
    assert node.path.read_bytes() == b"".join(piece.line for piece in numbered_pieces(3, 3))


def test_settled_limit(node: Node) -> None:
    """A log that cannot be written delays its container's exit for a limited time, and is written later."""
    node.logs.follow(node.container())
    node.advance()
    node.path.unlink()
    node.path.mkdir()
    node.engine.write(numbered_pieces(0, 3))
    settled = node.settle()
    node.advance(SETTLE_TIMEOUT - 0.1)
    assert not settled.called
    node.advance(0.2)
    assert settled.called
    node.path.rmdir()
    node.advance(2 * RETRY_INTERVAL)
    assert node.path.read_bytes() == node.engine.lines


def test_unknown(node: Node) -> None:
    """A container that is not followed is settled and forgotten at once, and cannot be reopened."""
    done(node.logs.settled(CONTAINER))
    done(node.logs.forget(CONTAINER))
    with pytest.raises(FailedPrecondition):
        done(node.logs.reopen(CONTAINER))


def test_reopen(node: Node) -> None:
    """Reopening after a rename makes a new file; if that fails, the error gives the reason."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.advance()
    node.path.rename(node.path.with_name("0.log.1"))
    node.path.mkdir()
    with pytest.raises(FailedPrecondition, match="Is a directory"):
        done(node.logs.reopen(CONTAINER))
    node.path.rmdir()
    done(node.logs.reopen(CONTAINER))
    node.engine.write(numbered_pieces(3, 3))
    node.advance()
    assert node.path.with_name("0.log.1").read_bytes() + node.path.read_bytes() == node.engine.lines


def test_forget(node: Node) -> None:
    """A removed container's last lines are written, from removed files; its files are closed, its record removed."""
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 1))
    node.advance()
    held = len(os.listdir("/proc/self/fd"))
    node.engine.write(numbered_pieces(1, 2))
    node.engine.path.unlink()
    node.engine_directory.rmdir()
    forgotten = Deferred.fromCoroutine(node.logs.forget(CONTAINER))
    node.advance()
    assert forgotten.called
    assert node.path.read_bytes() == node.engine.lines
    assert len(os.listdir("/proc/self/fd")) == held - 2
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == []


def test_reconcile(node: Node) -> None:
    """Containers that are not known any more are forgotten, followed or not."""
    node.logs.follow(node.container())
    node.advance()
    node.logs.stop()
    node.start()
    done(node.logs.reconcile([CONTAINER]))
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == [CONTAINER]
    done(node.logs.reconcile([]))
    assert os.listdir(os.path.join(node.config.root_directory, "logs")) == []


def test_stop(node: Node) -> None:
    """A stop closes all files and cancels all timers, and the next start continues."""
    before = len(os.listdir("/proc/self/fd"))
    node.logs.follow(node.container())
    node.engine.write(numbered_pieces(0, 3))
    node.advance()
    node.logs.stop()
    assert node.reactor.getDelayedCalls() == []
    assert node.reactor.getReaders() == []
    assert len(os.listdir("/proc/self/fd")) == before
    node.engine.write(numbered_pieces(3, 3))
    node.start().follow(node.container())
    node.advance()
    assert node.path.read_bytes() == node.engine.lines


def test_local(node: Node) -> None:
    """The file of the driver local is followed, although Docker makes its directory when the container starts."""
    engine = EngineLog(node.engine_directory / "local-logs" / "container.log", entry=local_entry)
    node.logs.follow(node.container(driver="local"))
    node.advance()
    engine.write(numbered_pieces(0, 3))
    node.advance()
    engine.write(numbered_pieces(3, 3))
    node.advance()
    assert node.path.read_bytes() == engine.lines


def test_cached(node: Node) -> None:
    """The copy that the engine keeps for drivers that cannot be read back is followed."""
    engine = EngineLog(node.engine_directory / "container-cached.log", entry=local_entry)
    node.logs.follow(node.container(driver="syslog"))
    engine.write(numbered_pieces(0, 3))
    node.logs.follow(evolve(node.container(driver="syslog"), running=True))
    node.advance()
    assert node.path.read_bytes() == engine.lines
    assert node.docker.requests == []


def test_not_cached(node: Node) -> None:
    """If the engine keeps no copy, the log is requested from its API once the container runs."""
    node.logs.follow(node.container(driver="syslog"))
    node.advance()
    assert node.docker.requests == []
    node.logs.follow(evolve(node.container(driver="syslog"), running=True))
    assert len(node.docker.requests) == 1


def test_remote_engine(tmp_path: Path) -> None:
    """The log of an engine on another host is requested from its API."""
    node = Node(tmp_path)
    node.engine_directory.rmdir()
    node.logs.follow(node.container())
    assert len(node.docker.requests) == 1
    node.logs.stop()


def test_none(node: Node) -> None:
    """With the driver none the log has one line, however often it is followed, rotated and started."""
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
    """A container of an older shim keeps its link to Docker's file; a missing link is made again."""
    node.path.parent.mkdir(parents=True)
    node.path.symlink_to(node.engine.path)
    node.engine.write(numbered_pieces(0, 1))
    container = evolve(node.container(engine_path=str(node.engine.path)), running=True)
    node.logs.follow(container)
    node.advance()
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


def test_adopted_without_link(node: Node) -> None:
    """A container of an older shim whose link is missing gets its link again."""
    node.logs.follow(node.container(engine_path=str(node.engine.path), adopted=True))
    assert node.path.readlink() == node.engine.path


def test_planted_link(node: Node) -> None:
    """A link to another file is replaced, and its target is not written to."""
    secret = node.path.parent.parent / "secret"
    node.path.parent.mkdir(parents=True)
    secret.write_bytes(b"secret")
    node.path.symlink_to(secret)
    node.engine.write(numbered_pieces(0, 1))
    node.logs.follow(node.container())
    node.advance()
    assert node.path.read_bytes() == node.engine.lines
    assert secret.read_bytes() == b"secret"


def test_symlink_mode(tmp_path: Path) -> None:
    """With log mode symlink new containers get links, and a container that has a CRI file keeps it."""
    node = Node(tmp_path, log_mode="symlink")
    node.logs.follow(node.container())
    assert node.path.readlink() == node.engine.path
    node.logs.stop()
    other = Node(tmp_path / "other")
    other.logs.follow(other.container())
    other.advance()
    other.logs.stop()
    other.config = evolve(other.config, log_mode="symlink")
    other.start().follow(other.container())
    assert not other.path.is_symlink()
    other.logs.stop()


def test_symlink_mode_without_file(tmp_path: Path) -> None:
    """With log mode symlink, a container for which Docker writes no JSON file has no log."""
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
    """Driver and sizes become Docker's options; with a size Docker keeps two files at least, and empties none."""
    assert Node(tmp_path, **options).logs.container_options() == expected
