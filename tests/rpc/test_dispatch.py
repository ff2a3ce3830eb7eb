"""The dispatcher between gRPC's threads and the reactor."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import grpc
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import DeadlineExceeded, NotFound, Unavailable
from criwist.rpc.dispatch import Dispatcher


class Call:
    """The context that grpcio passes to a non-blocking behaviour, and the responses that the behaviour sends."""

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.callbacks: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.code: grpc.StatusCode | None = None
        self.details = ""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call *callback* at the RPC's end; False if the RPC has already ended."""
        if self.active:
            self.callbacks.append(callback)
        return self.active

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def end(self) -> None:
        """The client cancels the RPC."""
        for callback in self.callbacks:
            callback()


class TurningReactor:
    """The part of a reactor that the dispatcher uses: calls from threads, which run when the test turns it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., None], *arguments: Any) -> None:
        """Queue a call.  Any thread."""
        self.calls.put(lambda: call(*arguments))

    def turn(self) -> None:
        """Run the queued calls."""
        while not self.calls.empty():
            self.calls.get()()


class Immediately:
    """An executor that runs each call at once, in the caller's thread."""

    def submit(self, run: Callable[..., None], *arguments: Any) -> None:
        run(*arguments)

    def shutdown(self, wait: bool) -> None:
        """Do nothing: there is no thread."""


class DispatcherTests(SynchronousTestCase):
    """Coroutines run on the reactor, and no thread waits for them."""

    def setUp(self) -> None:
        self.reactor = TurningReactor()
        self.dispatcher = Dispatcher(self.reactor)  # type: ignore[arg-type]
        self.dispatcher._senders.shutdown()
        self.dispatcher._senders = Immediately()  # type: ignore[assignment]
        self.call = Call()
        self.result: Deferred[str] = Deferred(lambda _: self.cancelled.append(True))
        self.cancelled: list[bool] = []

    def begin(self, cancellable: bool = False) -> None:
        """Dispatch a request, and turn the reactor once."""

        async def start(request: str) -> str:
            return f"{request} {await self.result}"

        behave = self.dispatcher.behaviour("Do", start, cancellable=cancellable)
        behave("hello", self.call, self.call.sent.append)
        self.reactor.turn()

    def test_response(self) -> None:
        """The coroutine's result is the response, followed by the end of the stream."""
        self.begin()
        self.assertEqual(self.call.sent, [])
        self.result.callback("world")
        self.assertEqual(self.call.sent, ["hello world", None])

    def test_error(self) -> None:
        """An exception becomes a status without a message."""
        self.begin()
        self.result.errback(NotFound("container", "x"))
        self.assertEqual((self.call.sent, self.call.code), ([None], grpc.StatusCode.NOT_FOUND))
        self.assertIn("'x'", self.call.details)

    def test_termination_cancels(self) -> None:
        """The end of the RPC cancels a cancellable call, and nothing is sent any more."""
        self.begin(cancellable=True)
        self.call.end()
        self.reactor.turn()
        self.assertEqual((self.cancelled, self.call.sent), ([True], []))

    def test_termination_lets_others_finish(self) -> None:
        """A call that must not stop half-way goes on, and only its response is lost."""
        self.begin()
        self.call.end()
        self.reactor.turn()
        self.assertEqual(self.cancelled, [])
        self.result.callback("world")
        self.assertEqual(self.call.sent, [])

    def test_terminated_before_its_start(self) -> None:
        """An RPC that ended on its way to the reactor starts no coroutine."""
        self.call.active = False
        self.begin()
        self.assertEqual(len(self.dispatcher.pending), 0)

    def test_close_answers_all(self) -> None:
        """At shutdown every pending call is answered UNAVAILABLE, and later calls too."""
        self.begin()
        self.dispatcher.close()
        self.assertEqual(self.call.code, grpc.StatusCode.UNAVAILABLE)
        self.call = Call()
        self.begin()
        self.assertEqual(self.call.code, grpc.StatusCode.UNAVAILABLE)

    def test_waiting_on_the_reactor_is_refused(self) -> None:
        """wait() raises on the reactor's own thread, which would wait for itself."""
        self.dispatcher.open()

        async def start() -> None:
            return None

        self.assertRaises(RuntimeError, self.dispatcher.wait, start, 1.0, "List")


class WaitTests(SynchronousTestCase):
    """Waiting in a thread for a coroutine on the reactor."""

    def setUp(self) -> None:
        self.reactor = TurningReactor()
        self.dispatcher = Dispatcher(self.reactor)  # type: ignore[arg-type]
        self.addCleanup(self.dispatcher.close)
        self.outcome: list[object] = []

    def wait(self, result: Deferred[str], seconds: float) -> Thread:
        """Wait for *result* in another thread."""

        async def start() -> str:
            return await result

        def run() -> None:
            try:
                self.outcome.append(self.dispatcher.wait(start, seconds, "List"))
            except (Unavailable, DeadlineExceeded) as error:
                self.outcome.append(error)

        thread = Thread(target=run)
        thread.start()
        return thread

    def turn_until_done(self, thread: Thread) -> None:
        """Turn the reactor until the waiting thread has ended."""
        while thread.is_alive():
            self.reactor.turn()
            thread.join(0.005)

    def test_result(self) -> None:
        """The waiting thread gets the coroutine's result."""
        result: Deferred[str] = Deferred()
        result.callback("fresh")
        self.turn_until_done(self.wait(result, 10))
        self.assertEqual(self.outcome, ["fresh"])

    def test_error(self) -> None:
        """The waiting thread gets the coroutine's exception."""
        result: Deferred[str] = Deferred()
        result.errback(Unavailable("away"))
        self.turn_until_done(self.wait(result, 10))
        self.assertIsInstance(self.outcome[0], Unavailable)

    def test_close(self) -> None:
        """Shutdown wakes the waiting thread, and the coroutine may still end."""
        result: Deferred[str] = Deferred()
        thread = self.wait(result, 60)
        while not self.dispatcher._waiting:
            self.reactor.turn()
        self.dispatcher.close()
        thread.join(10)
        self.assertIsInstance(self.outcome[0], Unavailable)
        result.callback("fresh")

    def test_too_long(self) -> None:
        """After the time limit the thread stops waiting, and the coroutine is cancelled."""
        cancelled: list[object] = []
        result: Deferred[str] = Deferred(cancelled.append)
        self.turn_until_done(self.wait(result, 0.01))
        self.reactor.turn()
        self.assertIsInstance(self.outcome[0], DeadlineExceeded)
        self.assertEqual(cancelled, [result])
