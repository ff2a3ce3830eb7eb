"""A connection leaves HTTP, and nothing is lost on the way."""

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
    """Remembers what happens to it."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    @property
    def pipe(self) -> Any:
        """The transport."""
        return self.transport

    def connectionMade(self) -> None:
        """Note it."""
        self.log.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.log.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.log.append("lost")


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """Wants to know of halves."""

    def readConnectionLost(self) -> None:
        """Note it."""
        self.log.append("read closed")

    def writeConnectionLost(self) -> None:
        """Note it."""
        self.log.append("write closed")


class HijackTests(SynchronousTestCase):
    """From the request to the hand-over."""

    def setUp(self) -> None:
        """An engine that has been asked for an exec, and has not answered."""
        self.network = MemoryNetwork(Clock())
        self.engine = HalfRecorder()
        self.connection = HijackedConnection(
            UpgradeRequest("/exec/x/start", "docker", b"{}"), Clock(), kind="exec", name="x", multiplexed=True
        )
        self.upgraded = hijack(MemoryEndpoint(self.network, lambda: self.engine), self.connection)

    def say(self, *chunks: bytes) -> None:
        """The engine says something, in these pieces."""
        for chunk in chunks:
            self.engine.pipe.write(chunk)
        self.network.settle()

    def started(self, protocol: Recorder) -> Recorder:
        """*protocol* with the upgraded connection."""
        self.successResultOf(self.upgraded).start(protocol)
        self.network.settle()
        return protocol

    def test_it_is_a_hijacked_stream(self) -> None:
        """As the core expects it."""
        self.say(SWITCHING)
        stream = self.successResultOf(self.upgraded)
        verifyObject(IHijackedStream, stream)
        self.assertTrue(stream.multiplexed)

    def test_the_request_goes_out_on_connecting(self) -> None:
        """Whole."""
        self.assertTrue(b"".join(self.engine.log[1:]).startswith(b"POST /exec/x/start HTTP/1.1\r\n"))

    def test_nothing_is_lost_before_the_start(self) -> None:
        """What comes with the answer, what comes after, and the end, in order."""
        self.say(SWITCHING + b"with", b"after")
        self.engine.pipe.loseConnection()
        self.network.settle()
        recorder = self.started(Recorder())
        self.assertEqual(
            (recorder.log[0], b"".join(recorder.log[1:-1]), recorder.log[-1]), ("made", b"withafter", "lost")
        )

    def test_it_is_paused_until_the_start(self) -> None:
        """The engine's bytes wait in the connection, not in our memory."""
        self.say(SWITCHING + b"with", b"after")
        self.assertEqual(self.connection._buffered, [b"with"])

    def test_after_the_start_nothing_lies_between(self) -> None:
        """The connection's dataReceived is the protocol's own."""
        self.say(SWITCHING)
        recorder = self.started(Recorder())
        self.assertEqual(self.connection.dataReceived, recorder.dataReceived)
        self.say(b"x")
        self.assertEqual(recorder.log, ["made", b"x"])

    def test_both_ways(self) -> None:
        """What the protocol writes comes to the engine."""
        self.say(SWITCHING)
        self.engine.log.clear()
        self.started(Recorder()).pipe.write(b"in")
        self.network.settle()
        self.assertEqual(self.engine.log, [b"in"])

    def test_our_half_is_closed(self) -> None:
        """The engine reads the end, and goes on writing."""
        self.say(SWITCHING)
        recorder = self.started(Recorder())
        recorder.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "read closed")
        self.say(b"more")
        self.assertEqual(recorder.log, ["made", b"more"])

    def test_the_engine_s_half_is_closed(self) -> None:
        """Who wants to know is told, once, and can go on writing."""
        self.say(SWITCHING)
        recorder = self.started(HalfRecorder())
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "read closed"])
        recorder.pipe.write(b"still")
        self.network.settle()
        self.assertEqual(self.engine.log[-1], b"still")

    def test_the_engine_s_half_is_closed_before_the_start(self) -> None:
        """It is told afterwards."""
        self.say(SWITCHING + b"x")
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(self.started(HalfRecorder()).log, ["made", b"x", "read closed"])

    def test_who_knows_no_halves_sees_the_end(self) -> None:
        """The engine's end closes the connection, once."""
        self.say(SWITCHING)
        recorder = self.started(Recorder())
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "lost"])
        self.assertEqual(self.engine.log[-1], "lost")

    def test_a_break_is_told_once(self) -> None:
        """Whatever else happens then."""
        self.say(SWITCHING)
        recorder = self.started(HalfRecorder())
        self.engine.pipe.abortConnection()
        self.network.settle()
        self.connection.abort()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", "lost"])

    def test_a_refusal_is_an_error_of_ours(self) -> None:
        """By its status, and the connection is closed."""
        self.say(b'HTTP/1.1 409 Conflict\r\nContent-Length: 31\r\n\r\n{"message":"is not running..."}'[:-1])
        self.assertNoResult(self.upgraded)
        self.say(b"}")
        self.failureResultOf(self.upgraded, FailedPrecondition)
        self.assertEqual(self.engine.log[-1], "lost")

    def test_what_is_not_found(self) -> None:
        """Has the kind and name of the call."""
        self.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        error = self.failureResultOf(self.upgraded, NotFound).value
        self.assertEqual((error.kind, error.name), ("exec", "x"))

    def test_an_answer_that_is_none(self) -> None:
        """A success that does not upgrade, and garbage."""
        self.say(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.failureResultOf(self.upgraded, EngineFailure)
        self.setUp()
        self.say(b"garbage\r\n\r\n")
        self.failureResultOf(self.upgraded, EngineFailure)

    def test_an_engine_that_goes_before_it_answers(self) -> None:
        """Is away; one that closes its half in the middle of an answer is not understood."""
        self.engine.pipe.abortConnection()
        self.network.settle()
        self.failureResultOf(self.upgraded, Unavailable)
        self.setUp()
        self.say(SWITCHING[:10])
        self.engine.pipe.loseWriteConnection()
        self.network.settle()
        self.failureResultOf(self.upgraded, EngineFailure)

    def test_an_engine_that_is_not_there(self) -> None:
        """Is away."""
        refused = hijack(MemoryEndpoint(self.network, lambda: None), self.connection)
        self.failureResultOf(refused, Unavailable)
        self.upgraded.cancel()
        self.failureResultOf(self.upgraded, CancelledError)

    def test_cancelling_drops_the_connection(self) -> None:
        """While the answer is waited for."""
        self.upgraded.cancel()
        self.failureResultOf(self.upgraded, CancelledError)
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "lost")

    def test_aborting_drops_the_connection(self) -> None:
        """Started or not, as often as one likes."""
        self.say(SWITCHING)
        self.connection.abort()
        self.connection.abort()
        self.network.settle()
        self.assertEqual(self.engine.log[-1], "lost")
        self.assertEqual(self.started(Recorder()).log, ["made", "lost"])

    def test_a_stream_is_started_once(self) -> None:
        """A second time is a fault of ours."""
        self.say(SWITCHING)
        self.started(Recorder())
        self.assertRaises(RuntimeError, self.connection.start, Recorder())

    def test_back_pressure(self) -> None:
        """A protocol that pauses gets nothing until it resumes."""
        self.say(SWITCHING)
        recorder = self.started(Recorder())
        recorder.pipe.pauseProducing()
        self.say(b"x")
        self.assertEqual(recorder.log, ["made"])
        recorder.pipe.resumeProducing()
        self.network.settle()
        self.assertEqual(recorder.log, ["made", b"x"])
