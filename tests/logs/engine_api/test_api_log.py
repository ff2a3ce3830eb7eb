"""Logs from the engine's API: when it is asked, and what is made of its answers."""

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
from criwist.logs.containers import ContainerLogs
from criwist.logs.engine_api.api_log import END_LIMIT, LONGEST_PAUSE, START_LIMIT
from criwist.logs.engine_api.response import GATHER, REST, RETRY
from criwist.wire.crilog import parse, time_text
from criwist.wire.stdcopy import Stream, frame
from tests.logs.engine_formats import Piece
from tests.logs.engine_log import numbered_pieces
from tests.logs.memory_engine import Body, MemoryEngine

CONTAINER = "c" * 64


def sent(pieces: list[Piece]) -> bytes:
    """How the engine sends them."""
    return b"".join(
        frame(
            Stream.STDOUT if piece.stream == b"stdout" else Stream.STDERR,
            time_text(piece.moment) + b" " + piece.content + (b"\n" if piece.ended else b""),
        )
        for piece in pieces
    )


def lines(pieces: list[Piece]) -> bytes:
    """The lines they have to become."""
    return b"".join(piece.line for piece in pieces)


class Node:
    """An engine that is far away, and the log of one container of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "pods" / "0.log"
        self.docker = MemoryEngine()
        self.start()

    def start(self) -> None:
        """As after a start of criwist."""
        self.reactor = MemoryReactorClock()
        config = Config(root_directory=str(self.root / "state"))
        docker: Any = self.docker
        self.logs = ContainerLogs(config, docker, self.reactor, reads_files=False)

    def container(self, **fields: Any) -> LoggedContainer:
        """The container, which runs unless *fields* say otherwise."""
        return evolve(LoggedContainer(CONTAINER, str(self.path), tty=False, driver="journald"), **fields)

    def follow(self, **fields: Any) -> None:
        """Follow it."""
        self.logs.follow(self.container(**fields))

    def settle(self) -> Deferred[None]:
        """It has exited."""
        return Deferred.fromCoroutine(self.logs.settled(CONTAINER))

    def send(self, body: Body, pieces: list[Piece]) -> None:
        """The engine sends these."""
        body.send(sent(pieces))
        self.reactor.advance(GATHER)

    @property
    def asked(self) -> int:
        """How often the engine was asked."""
        return len(self.docker.requests)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A far engine."""
    node = Node(tmp_path)
    yield node
    node.logs.stop()
    assert [call for call in node.reactor.getDelayedCalls() if call.active()] == []


def test_follows(node: Node) -> None:
    """All of the log is asked for, with times, and what comes is written as it comes."""
    node.follow()
    assert dict(node.docker.parameters) == {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "since": "0.000000000",
        "follow": "1",
    }
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 3))
    node.send(body, numbered_pieces(3, 3))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 6))


def test_rests_between_reads(node: Node) -> None:
    """After each read messages gather in the socket for a moment."""
    node.follow()
    body = node.docker.answer()
    for number in range(2):
        body.send(sent(numbered_pieces(number, 1)))
        assert body.transport.paused
        node.reactor.advance(REST)
        assert not body.transport.paused
    node.reactor.advance(GATHER)
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))


def test_broken_off(node: Node) -> None:
    """An answer that breaks off is asked for again, and the lines that are there are not written twice."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 5))
    body.break_off()
    node.reactor.advance(1)
    assert node.asked == 2
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 8))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 8))


def test_engine_is_away(node: Node) -> None:
    """While the engine cannot be reached it is asked less and less often; a follow asks at once."""
    node.follow()
    for _ in range(12):
        node.docker.refuse(Unavailable("Docker is away"))
        node.reactor.advance(LONGEST_PAUSE)
    assert node.asked == 13
    node.docker.refuse(Unavailable("Docker is away"))
    node.reactor.advance(LONGEST_PAUSE / 2)
    assert node.asked == 13
    node.follow()
    assert node.asked == 14


def test_engine_words(node: Node) -> None:
    """Words of the engine's in place of a log are not written to it; the log is asked for again."""
    node.follow()
    body = node.docker.answer()
    body.send(sent(numbered_pieces(0, 2)) + frame(Stream.STDERR, b"Error grabbing logs: something is wrong with it"))
    node.reactor.advance(GATHER)
    body.send(sent(numbered_pieces(2, 1)))
    node.reactor.advance(GATHER)
    node.reactor.advance(1)
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))
    assert body.transport.lost
    assert node.asked == 2


def test_before_the_start(node: Node) -> None:
    """Before its start a container's log is empty; it is asked for again, at once when it is said to run."""
    node.follow(running=False)
    node.docker.answer().end()
    node.reactor.advance(0.06)
    assert node.asked == 2
    node.docker.answer().end()
    node.follow(running=True)
    assert node.asked == 3
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 1))
    assert node.path.read_bytes() == lines(numbered_pieces(0, 1))


def test_never_started(node: Node) -> None:
    """A container that is not started is not asked after for ever."""
    node.follow(running=False)
    for _ in range(50):
        if not node.docker.requests[-1][1].called:
            node.docker.answer().end()
        node.reactor.advance(LONGEST_PAUSE)
    asked = node.asked
    assert asked < START_LIMIT / LONGEST_PAUSE + 12
    node.reactor.advance(START_LIMIT)
    assert node.asked == asked


def test_settled(node: Node) -> None:
    """After the end of the container its log is compared with the engine's last line, and is whole then."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 3))
    settled = node.settle()
    body.end()
    assert dict(node.docker.parameters) == {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "1"}
    body = node.docker.answer()
    body.send(sent(numbered_pieces(2, 1)))
    assert not settled.called
    body.end()
    assert settled.called
    node.reactor.advance(START_LIMIT)
    assert node.asked == 2


def test_settled_incomplete(node: Node) -> None:
    """If the engine has more, all is read once more, without following; an answer that does not end is dropped."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 3))
    settled = node.settle()
    node.reactor.advance(END_LIMIT)
    assert body.transport.lost
    last = node.docker.answer()
    last.send(sent(numbered_pieces(4, 1)))
    last.end()
    assert "follow" not in node.docker.parameters
    rest = node.docker.answer()
    rest.send(sent(numbered_pieces(0, 5)))
    rest.end()
    assert settled.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 5))


def test_settled_late(node: Node) -> None:
    """An answer that is behind when the container has ended is read on for as long as something comes."""
    node.follow()
    body = node.docker.answer()
    node.settle()
    for number in range(10):
        node.send(body, numbered_pieces(number, 1))
        node.reactor.advance(END_LIMIT * 0.8)
    assert not body.transport.lost
    body.end()
    last = node.docker.answer()
    last.send(sent(numbered_pieces(9, 1)))
    last.end()
    assert node.asked == 2
    assert node.path.read_bytes() == lines(numbered_pieces(0, 10))


def test_restart(node: Node) -> None:
    """After a restart, what the file has is passed over; a log that is whole is not asked for."""
    node.follow()
    node.send(node.docker.answer(), numbered_pieces(0, 3))
    node.logs.stop()
    node.start()
    node.follow(running=False)
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 5))
    settled = node.settle()
    body.end()
    last = node.docker.answer()
    last.send(sent(numbered_pieces(4, 1)))
    last.end()
    assert settled.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 5))
    node.logs.stop()
    node.start()
    asked = node.asked
    node.follow(running=False)
    assert node.asked == asked


def test_full_disk(node: Node) -> None:
    """While nothing can be written the engine is held back; later all is written."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 3))
    node.path.unlink()
    node.path.mkdir()
    node.send(body, numbered_pieces(3, 3))
    assert body.transport.paused
    node.send(body, numbered_pieces(6, 3))
    body.end()
    node.reactor.advance(RETRY)
    node.path.rmdir()
    node.reactor.advance(RETRY)
    assert node.path.read_bytes() == lines(numbered_pieces(3, 6))


def test_cannot_be_read(node: Node) -> None:
    """A driver that cannot be read back has a line that says so, once."""
    node.follow()
    node.docker.refuse(EngineFailure("configured logging driver does not support reading"))
    (line,) = node.path.read_bytes().splitlines(keepends=True)
    assert b"log driver journald" in parse(line).content
    node.reactor.advance(START_LIMIT)
    assert node.asked == 1


def test_container_is_gone(node: Node) -> None:
    """A container that the engine does not know has no log to ask for."""
    node.follow()
    node.docker.refuse(NotFound("container", CONTAINER))
    node.reactor.advance(START_LIMIT)
    assert node.asked == 1


def test_forget(node: Node) -> None:
    """Forgetting writes what has come, drops the answer and the record."""
    node.follow()
    body = node.docker.answer()
    body.send(sent(numbered_pieces(0, 3)))
    forgotten = Deferred.fromCoroutine(node.logs.forget(CONTAINER))
    body.end()
    node.docker.refuse(NotFound("container", CONTAINER))
    assert forgotten.called
    assert node.path.read_bytes() == lines(numbered_pieces(0, 3))
    assert os.listdir(node.root / "state" / "logs") == []


def test_terminal(node: Node) -> None:
    """A terminal's log has no frames."""
    node.follow(tty=True)
    body = node.docker.answer()
    moment = numbered_pieces(0, 1)[0].moment
    body.send(time_text(moment) + b" hello\r\n")
    node.reactor.advance(GATHER)
    assert node.path.read_bytes() == Piece(moment, b"stdout", b"hello\r").line


def test_terminal_is_cut_off(node: Node) -> None:
    """A last line that may have been cut off is not written before it is known to be whole."""
    node.follow(tty=True)
    moment = numbered_pieces(0, 1)[0].moment
    text = time_text(moment) + b" one\r\n" + time_text(moment + 1) + b" t"
    body = node.docker.answer()
    body.send(text)
    body.end_with_connection()
    one = Piece(moment, b"stdout", b"one\r").line
    assert node.path.read_bytes() == one
    node.reactor.advance(1)
    body = node.docker.answer()
    body.send(text + b"wo\r\n")
    node.reactor.advance(GATHER)
    assert node.path.read_bytes() == one + Piece(moment + 1, b"stdout", b"two\r").line


def test_engine_words_at_the_end(node: Node) -> None:
    """Words of the engine's behind lines are not written either; they are reported when the connection ends."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 2))
    body.send(frame(Stream.STDERR, b"Error grabbing logs: no"))
    with capturedLogs() as told:
        body.end_with_connection()
    assert node.path.read_bytes() == lines(numbered_pieces(0, 2))
    assert [event["problem"] for event in told] == ["Error grabbing logs: no"]


def test_rotation(node: Node) -> None:
    """After a rename and a reopen the rest goes to the new file, over breaks of the answer too."""
    node.follow()
    body = node.docker.answer()
    node.send(body, numbered_pieces(0, 3))
    node.path.rename(node.path.with_name("0.log.1"))
    reopened = Deferred.fromCoroutine(node.logs.reopen(CONTAINER))
    assert reopened.called
    body.break_off()
    node.reactor.advance(1)
    node.send(node.docker.answer(), numbered_pieces(0, 6))
    assert node.path.with_name("0.log.1").read_bytes() == lines(numbered_pieces(0, 3))
    assert node.path.read_bytes() == lines(numbered_pieces(3, 3))
