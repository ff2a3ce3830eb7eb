"""Logs from the engine's API: when they are requested, and how the responses are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from criwist.config import Config
from criwist.errors import EngineFailure, NotFound, Unavailable
from criwist.interfaces.logs import LoggedContainer
from criwist.logs.container_logs import ContainerLogs
from criwist.logs.engine_api.api_log import END_TIMEOUT, MAX_BACKOFF, START_TIMEOUT
from criwist.logs.engine_api.response import FLUSH_INTERVAL, READ_INTERVAL, RETRY_INTERVAL
from criwist.wire.crilog import parse, time_text
from criwist.wire.stdcopy import Stream, frame
from tests.logs.engine_formats import Piece
from tests.logs.engine_log import numbered_pieces
from tests.logs.memory_engine import Body, MemoryEngine

CONTAINER = "c" * 64


def sent(pieces: list[Piece]) -> bytes:
    """Return the pieces as the engine sends them."""
    return b"".join(
        frame(
            Stream.STDOUT if piece.stream == b"stdout" else Stream.STDERR,
            time_text(piece.moment) + b" " + piece.content + (b"\n" if piece.ended else b""),
        )
        for piece in pieces
    )


def lines(pieces: list[Piece]) -> bytes:
    """Return the CRI lines to which the pieces have to be converted."""
    return b"".join(piece.line for piece in pieces)


class Node:
    """An engine on another host, and the log of one of its containers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "pods" / "0.log"
        self.docker = MemoryEngine()
        self.start()

    def start(self) -> None:
        """Make the logs anew, as a start of criwist does."""
        self.reactor = MemoryReactorClock()
        config = Config(root_directory=str(self.root / "state"))
        docker: Any = self.docker
        self.logs = ContainerLogs(config, docker, self.reactor, reads_files=False)

    def container(self, **fields: Any) -> LoggedContainer:
        """Return the container, which runs unless *fields* differ."""
        return evolve(LoggedContainer(CONTAINER, str(self.path), tty=False, driver="journald"), **fields)

    def follow(self, **fields: Any) -> None:
        """Follow the container's log."""
        self.logs.follow(self.container(**fields))

    def settle(self) -> Deferred[None]:
        """Wait for the log of the exited container."""
        return Deferred.fromCoroutine(self.logs.settled(CONTAINER))

    def send(self, body: Body, pieces: list[Piece]) -> None:
        """Send the pieces as the engine does."""
        body.send(sent(pieces))
        self.reactor.advance(FLUSH_INTERVAL)

    @property
    def requests(self) -> int:
        """The number of requests to the engine."""
        return len(self.docker.requests)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An engine on another host."""
    node = Node(tmp_path)
    yield node
    node.logs.stop()
    assert [call for call in node.reactor.getDelayedCalls() if call.active()] == []


def test_follows(node: Node) -> None:
    """The whole log is requested, with times, and lines are written as they come."""
    node.follow()
    assert dict(node.docker.parameters) == {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "since": "0.000000000",
        "follow": "1",
    }
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 3))
    node.send(body, numbered_pieces(3, 3))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 6))


def test_pauses_between_reads(node: Node) -> None:
    """After each read, reading pauses while messages gather in the socket."""
    node.follow()
    body = node.docker.respond()
    for number in range(2):
        body.send(sent(numbered_pieces(number, 1)))
        assert body.transport.paused
        node.reactor.advance(READ_INTERVAL)
        assert not body.transport.paused
    node.reactor.advance(FLUSH_INTERVAL)
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))


def test_broken_off(node: Node) -> None:
    """After a broken connection the log is requested again, and the lines that are written are not written twice."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 5))
    body.break_off()
    node.reactor.advance(1)
    assert node.requests == 2
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 8))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 8))


def test_engine_is_unavailable(node: Node) -> None:
    """While the engine is unavailable, requests are retried with backoff; a follow retries at once."""
    node.follow()
    for _ in range(12):
        node.docker.fail(Unavailable("Docker is unavailable"))
        node.reactor.advance(MAX_BACKOFF)
    assert node.requests == 13
    node.docker.fail(Unavailable("Docker is unavailable"))
    node.reactor.advance(MAX_BACKOFF / 2)
    assert node.requests == 13
    node.follow()
    assert node.requests == 14


def test_engine_error_text(node: Node) -> None:
    """An error text of the engine in place of a log is not written; the log is requested again."""
    node.follow()
    body = node.docker.respond()
    body.send(sent(numbered_pieces(0, 2)) + frame(Stream.STDERR, b"Error grabbing logs: something is wrong with it"))
    node.reactor.advance(FLUSH_INTERVAL)
    body.send(sent(numbered_pieces(2, 1)))
    node.reactor.advance(FLUSH_INTERVAL)
    node.reactor.advance(1)
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))
    assert body.transport.lost
    assert node.requests == 2


def test_before_the_start(node: Node) -> None:
    """Before its start a container's log is empty; it is requested again, and at once when the container runs."""
    node.follow(running=False)
    node.docker.respond().end()
    node.reactor.advance(0.06)
    assert node.requests == 2
    node.docker.respond().end()
    node.follow(running=True)
    assert node.requests == 3
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 1))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 1))


def test_never_started(node: Node) -> None:
    """The log of a container that is never started is requested for a limited time."""
    node.follow(running=False)
    for _ in range(50):
        if not node.docker.requests[-1][1].called:
            node.docker.respond().end()
        node.reactor.advance(MAX_BACKOFF)
    requests = node.requests
    assert requests < START_TIMEOUT / MAX_BACKOFF + 12
    node.reactor.advance(START_TIMEOUT)
    assert node.requests == requests


def test_settled(node: Node) -> None:
    """After the container's exit its last line is compared with the engine's; if equal, the log is complete."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 3))
    settled = node.settle()
    body.end()
    assert dict(node.docker.parameters) == {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "1"}
    body = node.docker.respond()
    body.send(sent(numbered_pieces(2, 1)))
    assert not settled.called
    body.end()
    assert settled.called
    node.reactor.advance(START_TIMEOUT)
    assert node.requests == 2


def test_settled_incomplete(node: Node) -> None:
    """If the engine has more lines, the log is read once more, without following; a response without end is dropped."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 3))
    settled = node.settle()
    node.reactor.advance(END_TIMEOUT)
    assert body.transport.lost
    last = node.docker.respond()
    last.send(sent(numbered_pieces(4, 1)))
    last.end()
    assert "follow" not in node.docker.parameters
    rest = node.docker.respond()
    rest.send(sent(numbered_pieces(0, 5)))
    rest.end()
    assert settled.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 5))


def test_settled_late(node: Node) -> None:
    """A response that is behind when the container exits is read for as long as data comes."""
    node.follow()
    body = node.docker.respond()
    node.settle()
    for number in range(10):
        node.send(body, numbered_pieces(number, 1))
        node.reactor.advance(END_TIMEOUT * 0.8)
    assert not body.transport.lost
    body.end()
    last = node.docker.respond()
    last.send(sent(numbered_pieces(9, 1)))
    last.end()
    assert node.requests == 2
    assert node.path.read_bytes() == lines(numbered_pieces(0, 10))


def test_restart(node: Node) -> None:
    """After a restart, the lines that the file has are skipped; a complete log is not requested."""
    node.follow()
    node.send(node.docker.respond(), numbered_pieces(0, 3))
    node.logs.stop()
    node.start()
    node.follow(running=False)
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 5))
    settled = node.settle()
    body.end()
    last = node.docker.respond()
    last.send(sent(numbered_pieces(4, 1)))
    last.end()
    assert settled.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 5))
    node.logs.stop()
    node.start()
    requests = node.requests
    node.follow(running=False)
    assert node.requests == requests


def test_full_disk(node: Node) -> None:
    """While nothing can be written, reading is paused; later all lines are written."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 3))
    node.path.unlink()
    node.path.mkdir()
    node.send(body, numbered_pieces(3, 3))
    assert body.transport.paused
    node.send(body, numbered_pieces(6, 3))
    body.end()
    node.reactor.advance(RETRY_INTERVAL)
    node.path.rmdir()
    node.reactor.advance(RETRY_INTERVAL)
    assert node.path.read_bytes() == lines(numbered_pieces(3, 6))


def test_cannot_be_read(node: Node) -> None:
    """The log of a driver that cannot be read back has one line that explains it."""
    node.follow()
    node.docker.fail(EngineFailure("configured logging driver does not support reading"))
    (line,) = node.path.read_bytes().splitlines(keepends=True)
    assert b"log driver journald" in parse(line).content
    node.reactor.advance(START_TIMEOUT)
    assert node.requests == 1


def test_removed_container(node: Node) -> None:
    """The log of a container that the engine does not know is not requested again."""
    node.follow()
    node.docker.fail(NotFound("container", CONTAINER))
    node.reactor.advance(START_TIMEOUT)
    assert node.requests == 1


def test_forget(node: Node) -> None:
    """Forgetting writes the received lines, drops the response and removes the record."""
    node.follow()
    body = node.docker.respond()
    body.send(sent(numbered_pieces(0, 3)))
    forgotten = Deferred.fromCoroutine(node.logs.forget(CONTAINER))
    body.end()
    node.docker.fail(NotFound("container", CONTAINER))
    assert forgotten.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 3))
    assert os.listdir(node.root / "state" / "logs") == []


def test_terminal(node: Node) -> None:
    """A terminal's log, which has no frames, is converted."""
    node.follow(tty=True)
    body = node.docker.respond()
    moment = numbered_pieces(0, 1)[0].moment
    body.send(time_text(moment) + b" hello\r\n")
    node.reactor.advance(FLUSH_INTERVAL)
    assert node.path.read_bytes() == Piece(moment, b"stdout", b"hello\r").line


def test_terminal_is_cut_off(node: Node) -> None:
    """A last line that may be cut off is not written until its end has come."""
    node.follow(tty=True)
    moment = numbered_pieces(0, 1)[0].moment
    text = time_text(moment) + b" one\r\n" + time_text(moment + 1) + b" t"
    body = node.docker.respond()
    body.send(text)
    body.end_with_connection()
    one = Piece(moment, b"stdout", b"one\r").line
    assert node.path.read_bytes() == one
    node.reactor.advance(1)
    body = node.docker.respond()
    body.send(text + b"wo\r\n")
    node.reactor.advance(FLUSH_INTERVAL)
    assert node.path.read_bytes() == one + Piece(moment + 1, b"stdout", b"two\r").line


def test_engine_error_text_at_the_end(node: Node) -> None:
    """An error text of the engine after lines is not written; it is logged when the connection ends."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 2))
    body.send(frame(Stream.STDERR, b"Error grabbing logs: no"))
    with capturedLogs() as events:
        body.end_with_connection()
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))
    assert [event["problem"] for event in events] == ["Error grabbing logs: no"]


def test_rotation(node: Node) -> None:
    """After a rename and a reopen the next lines go to the new file, also if the connection breaks."""
    node.follow()
    body = node.docker.respond()
    node.send(body, numbered_pieces(0, 3))
    node.path.rename(node.path.with_name("0.log.1"))
    reopened = Deferred.fromCoroutine(node.logs.reopen(CONTAINER))
    assert reopened.called
    body.break_off()
    node.reactor.advance(1)
    node.send(node.docker.respond(), numbered_pieces(0, 6))
    assert node.path.with_name("0.log.1").read_bytes() == lines(numbered_pieces(0, 3))
    assert node.path.read_bytes() == lines(numbered_pieces(3, 3))
