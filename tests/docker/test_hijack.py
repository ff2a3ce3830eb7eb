"""A connection leaves HTTP, and no byte is lost."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from criwist.docker.hijack import HijackedConnection, hijack
from criwist.errors import EngineFailure, FailedPrecondition, NotFound, Unavailable
from criwist.interfaces.engine import IHijackedStream
from criwist.wire.upgrade import UpgradeRequest
from tests.doubles.memory_network import MemoryEndpoint, MemoryNetwork

SWITCHING = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


class Recorder(Protocol):
    """Records the calls of its methods."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    @property
    def pipe(self) -> Any:
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        self.log.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.log.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.log.append("lost")


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """Also records half-closes."""

    def readConnectionLost(self) -> None:
        self.log.append("read closed")

    def writeConnectionLost(self) -> None:
        self.log.append("write closed")


class HijackTests(SynchronousTestCase):
    """A connection from the request to the hand-over."""

    def setUp(self) -> None:
        """A connection with a request for an exec, to an engine that has not answered."""
        self.network = MemoryNetwork(Clock())
        self.engine = HalfRecorder()
        self.connection = HijackedConnection(
            UpgradeRequest("/exec/x/start", "docker", b"{}"), Clock(), kind="exec", name="x", multiplexed=True
        )
        self.upgraded = hijack(MemoryEndpoint(self.network, lambda: self.engine), self.connection)

    def send(self, *chunks: bytes) -> None:
        """Send these bytes from the engine, in these pieces."""
        for chunk in chunks:
            self.engine.pipe.write(chunk)
        self.network.settle()

    def started(self, protocol: Recorder) -> Recorder:
        """Return *protocol* with the upgraded connection."""
        self.successResultOf(self.upgraded).start(protocol)
        self.network.settle()
        return protocol

    def test_it_is_a_hijacked_stream(self) -> None:
        """A connection provides IHijackedStream."""
        self.send(SWITCHING)
        stream = self.successResultOf(self.upgraded)
        verifyObject(IHijackedStream, stream)
        self.assertTrue(stream.multiplexed)

    def test_the_request_goes_out_on_connecting(self) -> None:
        """The whole request is sent on connecting."""
        self.assertTrue(b"".join(self.engine.log[1:]).startswith(b"POST /exec/x/start HTTP/1.1\r\n"))

    def test_nothing_is_lost_before_the_start(self) -> None:
        """Bytes with the response, bytes after it and the end are delivered in order."""
        self.send(SWITCHING + b"with", b"after")
        self.engine.pipe.loseConnection()
        self.network.settle()
        recorder = self.started(Recorder())
        self.assertEqual(
            (recorder.log[0], b"".join(recorder.log[1:-1]), recorder.log[-1]), ("made", b"withafter", "lost")
        )

    def test_it_is_paused_until_the_start(self) -> None:
        """The engine's bytes wait in the socket, not in this process's memory."""
        self.send(SWITCHING + b"with", b"after")
        self.assertEqual(self.connection._buffered, [b"with"])

    def test_after_the_start_nothing_lies_between(self) -> None:
        """After the start, the connection's dataReceived is the protocol's own."""
        self.send(SWITCHING)
        recorder = self.started(Recorder())
        self.assertEqual(self.connection.dataReceived, recorder.dataReceived)
        self.send(b"x")
        self.assertEqual(recorder.log, ["made", b"x"])

    def test_both_ways(self) -> None:
        """Bytes that the protocol writes reach the engine."""
        self.send(SWITCHING)
        self.engine.log.clear()
        self.started(Recorder()).pipe.write(b"in")
        self.network.settle()
        self.assertEqual(self.engine.log, [b"in"])

    def test_our_half_is_closed(self) -> None:
        """After our half is closed, the engine reads EOF and may continue to write."""
        self.send(SWITCHING)
        recorder = self.started(Recorder())
        recorder.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "read closed")
        self.send(b"more")
        self.assertEqual(recorder.log, ["made", b"more"])

    def test_the_engine_s_half_is_closed(self) -> None:
        """A protocol for half-closes gets the engine's EOF once, and can continue to write."""
        self.send(SWITCHING)
        recorder = self.started(HalfRecorder())
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "read closed"])
        recorder.pipe.write(b"still")
        self.network.settle()
        self.assertEqual(self.engine.log[-1], b"still")

    def test_the_engine_s_half_is_closed_before_the_start(self) -> None:
        """An EOF before the start is passed on at the start."""
        self.send(SWITCHING + b"x")
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(self.started(HalfRecorder()).log, ["made", b"x", "read closed"])

    def test_a_protocol_without_half_closes_gets_the_end(self) -> None:
        """For a protocol without half-closes, the engine's EOF closes the connection, once."""
        self.send(SWITCHING)
        recorder = self.started(Recorder())
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "lost"])
        self.assertEqual(self.engine.log[-1], "lost")

    def test_a_broken_connection_is_passed_on_once(self) -> None:
        """A broken connection is passed on once, whatever happens after it."""
        self.send(SWITCHING)
        recorder = self.started(HalfRecorder())
        self.engine.pipe.abortConnection()
        self.network.settle()
        self.connection.abort()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "lost"])

    def test_a_refusal_is_an_error_of_ours(self) -> None:
        """A refusal gives the error of its status, and the connection is closed."""
        self.send(b'HTTP/1.1 409 Conflict\r\nContent-Length: 31\r\n\r\n{"message":"is not running..."}'[:-1])
        self.assertNoResult(self.upgraded)
        self.send(b"}")
        self.failureResultOf(self.upgraded, FailedPrecondition)
        self.assertEqual(self.engine.log[-1], "lost")

    def test_what_is_not_found(self) -> None:
        """NotFound has the kind and name of the call."""
        self.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        error = self.failureResultOf(self.upgraded, NotFound).value
        self.assertEqual((error.kind, error.name), ("exec", "x"))

    def test_a_response_that_does_not_upgrade(self) -> None:
        """A success that does not upgrade, and garbage, are EngineFailures."""
        self.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.failureResultOf(self.upgraded, EngineFailure)
        self.setUp()
        self.send(b"garbage\r\n\r\n")
        self.failureResultOf(self.upgraded, EngineFailure)

    def test_an_engine_that_goes_before_it_answers(self) -> None:
        """A connection lost before the response is Unavailable; one half-closed within it is an EngineFailure."""
        self.engine.pipe.abortConnection()
        self.network.settle()
        self.failureResultOf(self.upgraded, Unavailable)
        self.setUp()
        self.send(SWITCHING[:10])
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.failureResultOf(self.upgraded, EngineFailure)

    def test_an_engine_that_is_not_there(self) -> None:
        """An engine that cannot be connected to is Unavailable."""
        refused = hijack(MemoryEndpoint(self.network, lambda: None), self.connection)
        self.failureResultOf(refused, Unavailable)
        self.upgraded.cancel()
        self.failureResultOf(self.upgraded, CancelledError)

    def test_cancelling_drops_the_connection(self) -> None:
        """Cancelling before the response drops the connection."""
        self.upgraded.cancel()
        self.failureResultOf(self.upgraded, CancelledError)
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "lost")

    def test_aborting_drops_the_connection(self) -> None:
        """Aborting drops the connection, started or not, any number of times."""
        self.send(SWITCHING)
        self.connection.abort()
        self.connection.abort()
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "lost")
        self.assertEqual(self.started(Recorder()).log, ["made", "lost"])

    def test_a_stream_is_started_once(self) -> None:
        """A second start raises RuntimeError."""
        self.send(SWITCHING)
        self.started(Recorder())
        self.assertRaises(RuntimeError, self.connection.start, Recorder())

    def test_back_pressure(self) -> None:
        """A protocol that pauses gets nothing until it resumes."""
        self.send(SWITCHING)
        recorder = self.started(Recorder())
        recorder.pipe.pauseProducing()
        self.send(b"x")
        self.assertEqual(recorder.log, ["made"])
        recorder.pipe.resumeProducing()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", b"x"])
