"""Streams of responses: what a client costs that reads slowly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import NotFound
from criwist.rpc.response_streams import (
    CONTENDED,
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    STALLED,
    STREAM_THREADS,
    ResponseStream,
    ResponseStreams,
)


class OneThread(Clock):
    """A reactor whose thread is that of the test."""

    def callFromThread(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call it at once: the sending threads of these tests are the reactor's thread too."""
        call(*arguments)


class Threads:
    """A thread pool whose threads are blocked until the test releases them."""

    def __init__(self) -> None:
        self.blocked: list[Callable[[], None]] = []

    def submit(self, run: Callable[..., None], *arguments: Any) -> None:
        self.blocked.append(lambda: run(*arguments))

    def release(self) -> None:
        """Let all sends in progress return, and those that they make room for."""
        while self.blocked:
            self.blocked.pop(0)()


class Call:
    """A client's RPC."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.announced = self.cancelled = False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call *callback* at the RPC's end."""
        self.callbacks.append(callback)
        return True

    def send_initial_metadata(self, metadata: tuple[()]) -> None:
        self.announced = True

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def cancel(self) -> None:
        self.cancelled = True

    def end(self) -> None:
        """The RPC ends."""
        for callback in self.callbacks:
            callback()


class StreamTestCase(SynchronousTestCase):
    """Streams over threads that the test controls."""

    def setUp(self) -> None:
        self.reactor = OneThread()
        self.streams = ResponseStreams(self.reactor)  # type: ignore[arg-type]
        self.streams._threads.shutdown()
        self.threads = Threads()
        self.streams._threads = self.threads  # type: ignore[assignment]
        #: What ``subscribe`` got, by client.
        self.offers: list[Callable[[bytes], None]] = []
        self.unsubscribed = 0

    def accept(self) -> tuple[Call, ResponseStream]:
        """Return a client's RPC, and its stream."""
        call = Call()
        stream = self.streams.accept("Follow", call, call.sent.append)
        assert stream is not None
        return call, stream

    def follow(self) -> Call:
        """Return the RPC of a client that has subscribed and got the headers."""
        call, stream = self.accept()
        stream.follow(self.subscribe)
        self.threads.release()
        return call

    def subscribe(self, offer: Callable[[bytes], None]) -> Callable[[], None]:
        self.offers.append(offer)

        def unsubscribe() -> None:
            self.unsubscribed += 1

        return unsubscribe

    def publish(self, message: bytes) -> None:
        """Offer a message to all subscribers."""
        for offer in self.offers:
            offer(message)


class SubscriptionTests(StreamTestCase):
    """A stream of events."""

    def test_headers_come_at_once(self) -> None:
        """The client gets gRPC's headers once it is subscribed, before the first message."""
        call = self.follow()
        self.assertEqual((call.announced, call.sent, len(self.offers)), (True, [], 1))

    def test_order(self) -> None:
        """Messages are sent in order, one at a time."""
        call = self.follow()
        for message in (b"1", b"2", b"3"):
            self.publish(message)
        self.assertEqual(len(self.threads.blocked), 1)
        self.threads.release()
        self.assertEqual(call.sent, [b"1", b"2", b"3"])

    def test_end_of_the_rpc(self) -> None:
        """The end of the RPC ends the subscription, and nothing is sent any more."""
        call = self.follow()
        self.publish(b"1")
        self.publish(b"2")
        call.end()
        self.threads.release()
        self.publish(b"3")
        self.assertEqual((self.unsubscribed, call.sent, self.streams.open), (1, [b"1"], set()))

    def test_ended_before_it_began(self) -> None:
        """An RPC that ended on its way to the reactor is not subscribed."""
        call, stream = self.accept()
        call.end()
        stream.follow(self.subscribe)
        self.assertEqual((self.offers, self.threads.blocked), ([], []))

    def test_refusal(self) -> None:
        """An error of the subscription is the status of the RPC."""

        def refuse(offer: Callable[[bytes], None]) -> Callable[[], None]:
            raise NotFound("stream", "x")

        call, stream = self.accept()
        stream.follow(refuse)
        self.threads.release()
        self.assertEqual((call.code, call.sent), (grpc.StatusCode.NOT_FOUND, [None]))

    def test_too_many_messages(self) -> None:
        """When the queue is full the stream ends with RESOURCE_EXHAUSTED, in place of what is queued."""
        call = self.follow()
        for _ in range(MAX_QUEUED + 2):
            self.publish(b"x")
        self.assertEqual(self.unsubscribed, 1)
        self.threads.release()
        self.assertEqual((call.sent, call.code), ([b"x", None], grpc.StatusCode.RESOURCE_EXHAUSTED))

    def test_too_many_bytes(self) -> None:
        """The queue's bytes are bounded too, and are released as messages are sent."""
        call = self.follow()
        half = bytes(MAX_QUEUED_BYTES // 2)
        for _ in range(4):
            self.publish(half)
            self.threads.release()
        self.assertEqual((len(call.sent), call.code), (4, None))
        for _ in range(4):
            self.publish(half)
        self.threads.release()
        self.assertEqual(call.code, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_close(self) -> None:
        """At shutdown every subscription ends with UNAVAILABLE, and every later one."""
        call = self.follow()
        self.streams.close()
        self.threads.release()
        later, stream = self.accept()
        stream.follow(self.subscribe)
        self.threads.release()
        self.assertEqual([call.code, later.code], [grpc.StatusCode.UNAVAILABLE] * 2)
        self.assertEqual((self.unsubscribed, len(self.offers)), (1, 1))

    def test_send_that_fails(self) -> None:
        """A send that raises ends that stream, and the thread serves others."""
        call, stream = self.accept()

        def fail(message: bytes) -> None:
            raise ZeroDivisionError

        stream._send = fail
        stream.follow(self.subscribe)
        self.publish(b"1")
        self.threads.release()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(call.cancelled)
        other = self.follow()
        self.publish(b"2")
        self.threads.release()
        self.assertEqual(other.sent, [b"2"])


class StalledClientTests(StreamTestCase):
    """Clients that do not read: their sends block."""

    def test_alone(self) -> None:
        """A client that reads nothing is cancelled after some seconds, not earlier."""
        call = self.follow()
        self.publish(b"1")
        self.reactor.pump([CONTENDED] * int(STALLED / CONTENDED - 1))
        self.assertFalse(call.cancelled)
        self.reactor.pump([CONTENDED] * 2)
        self.assertTrue(call.cancelled)
        self.assertEqual(self.unsubscribed, 1)

    def test_one_thread_each(self) -> None:
        """A stream has one thread at most, however much is queued."""
        self.follow()
        for _ in range(100):
            self.publish(b"x")
        self.assertEqual(len(self.threads.blocked), 1)

    def test_they_make_room(self) -> None:
        """When clients that do not read hold all threads, they are cancelled soon, and a reader gets its event."""
        deaf = [self.follow() for _ in range(3 * STREAM_THREADS)]
        reader = self.follow()
        self.publish(b"1")
        for _ in range(10):
            self.assertLessEqual(len(self.threads.blocked), STREAM_THREADS)
            self.reactor.advance(CONTENDED)
            for call in [call for call in deaf if call.cancelled]:
                self.threads.blocked.pop(0)()  # which gRPC ends by the cancellation
                deaf.remove(call)
            if not deaf:
                break
        self.threads.release()
        self.assertEqual((reader.sent, reader.cancelled), ([b"1"], False))

    def test_no_timer_while_nothing_is_sent(self) -> None:
        """Subscribers cost nothing while nothing happens: no timer runs."""
        self.follow()
        self.publish(b"1")
        self.threads.release()
        self.reactor.advance(CONTENDED)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ListTests(StreamTestCase):
    """A list in chunks."""

    def test_all(self) -> None:
        """All messages are sent, more than a subscription's queue may have, and the stream ends with OK."""
        call, stream = self.accept()
        messages = [b"x"] * (MAX_QUEUED + 10)
        stream.send_all(messages)
        self.threads.release()
        self.assertEqual((call.sent, call.code), ([*messages, None], None))

    def test_nothing(self) -> None:
        """An empty list is a stream without messages."""
        call, stream = self.accept()
        stream.send_all([])
        self.threads.release()
        self.assertEqual((call.sent, call.code), ([None], None))

    def test_end_of_the_rpc(self) -> None:
        """The end of the RPC drops the rest of the list."""
        call, stream = self.accept()
        stream.send_all([b"1", b"2"])
        call.end()
        self.threads.release()
        self.assertEqual(call.sent, [b"1"])
