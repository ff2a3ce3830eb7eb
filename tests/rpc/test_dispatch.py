"""The door between gRPC's threads and the reactor."""

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
    """What grpcio hands a non-blocking behaviour: a context, and the way to answer."""

    def __init__(self, active: bool = True) -> None:
        self.active = active
        self.callbacks: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.code: grpc.StatusCode | None = None
        self.details = ""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Register what is called at the RPC's end; False if it is over."""
        if self.active:
            self.callbacks.append(callback)
        return self.active

    def set_code(self, code: grpc.StatusCode) -> None:
        """Note the status."""
        self.code = code

    def set_details(self, details: str) -> None:
        """Note the text."""
        self.details = details

    def end(self) -> None:
        """The client hangs up."""
        for callback in self.callbacks:
            callback()


class TurningReactor:
    """The part of a reactor that the door uses: calls from threads, run when the test turns it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., None], *arguments: Any) -> None:
        """Queue a call.  Any thread."""
        self.calls.put(lambda: call(*arguments))

    def turn(self) -> None:
        """Run what is queued."""
        while not self.calls.empty():
            self.calls.get()()


class Immediately:
    """An executor that runs what it is given at once."""

    def submit(self, run: Callable[..., None], *arguments: Any) -> None:
        """Run it."""
        run(*arguments)

    def shutdown(self, wait: bool) -> None:
        """Nothing to end."""


class DoorTests(SynchronousTestCase):
    """Coroutines run on the reactor, no thread waits for them."""

    def setUp(self) -> None:
        self.reactor = TurningReactor()
        self.door = Dispatcher(self.reactor)  # type: ignore[arg-type]
        self.door._answers.shutdown()
        self.door._answers = Immediately()  # type: ignore[assignment]
        self.call = Call()
        self.result: Deferred[str] = Deferred(lambda _: self.cancelled.append(True))
        self.cancelled: list[bool] = []

    def begin(self, cancellable: bool = False) -> None:
        """Enter the door with a request, and let the reactor turn once."""

        async def start(request: str) -> str:
            return f"{request} {await self.result}"

        behave = self.door.behaviour("Do", start, cancellable=cancellable)
        behave("hello", self.call, self.call.sent.append)
        self.reactor.turn()

    def test_answer(self) -> None:
        """What the coroutine returns is the answer, followed by the end of the stream."""
        self.begin()
        self.assertEqual(self.call.sent, [])
        self.result.callback("world")
        self.assertEqual(self.call.sent, ["hello world", None])

    def test_error(self) -> None:
        """What it raises becomes a status, and no message."""
        self.begin()
        self.result.errback(NotFound("container", "x"))
        self.assertEqual((self.call.sent, self.call.code), ([None], grpc.StatusCode.NOT_FOUND))
        self.assertIn("'x'", self.call.details)

    def test_hang_up_cancels(self) -> None:
        """The RPC's end cancels a cancellable errand, and nothing is sent any more."""
        self.begin(cancellable=True)
        self.call.end()
        self.reactor.turn()
        self.assertEqual((self.cancelled, self.call.sent), ([True], []))

    def test_hang_up_lets_others_finish(self) -> None:
        """An errand that must not stop half-way goes on, and only its answer is lost."""
        self.begin()
        self.call.end()
        self.reactor.turn()
        self.assertEqual(self.cancelled, [])
        self.result.callback("world")
        self.assertEqual(self.call.sent, [])

    def test_over_before_it_began(self) -> None:
        """An RPC that ended on its way to the reactor starts nothing."""
        self.call.active = False
        self.begin()
        self.assertEqual(len(self.door.errands), 0)

    def test_close_answers_all(self) -> None:
        """At shutdown all errands under way are answered UNAVAILABLE, and later ones too."""
        self.begin()
        self.door.close()
        self.assertEqual(self.call.code, grpc.StatusCode.UNAVAILABLE)
        self.call = Call()
        self.begin()
        self.assertEqual(self.call.code, grpc.StatusCode.UNAVAILABLE)

    def test_waiting_on_the_reactor_is_refused(self) -> None:
        """The reactor's own thread would wait for itself."""
        self.door.open()

        async def start() -> None:
            return None

        self.assertRaises(RuntimeError, self.door.wait, start, 1.0, "List")


class WaitTests(SynchronousTestCase):
    """The rare read that has to wait."""

    def setUp(self) -> None:
        self.reactor = TurningReactor()
        self.door = Dispatcher(self.reactor)  # type: ignore[arg-type]
        self.addCleanup(self.door.close)
        self.outcome: list[object] = []

    def wait(self, result: Deferred[str], seconds: float) -> Thread:
        """Wait for *result* in another thread."""

        async def start() -> str:
            return await result

        def run() -> None:
            try:
                self.outcome.append(self.door.wait(start, seconds, "List"))
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
        """The waiting thread gets what the coroutine returns."""
        result: Deferred[str] = Deferred()
        result.callback("fresh")
        self.turn_until_done(self.wait(result, 10))
        self.assertEqual(self.outcome, ["fresh"])

    def test_error(self) -> None:
        """It gets what the coroutine raises."""
        result: Deferred[str] = Deferred()
        result.errback(Unavailable("away"))
        self.turn_until_done(self.wait(result, 10))
        self.assertIsInstance(self.outcome[0], Unavailable)

    def test_close(self) -> None:
        """At shutdown it is woken, and what it waited for may still end."""
        result: Deferred[str] = Deferred()
        thread = self.wait(result, 60)
        while not self.door._waiting:
            self.reactor.turn()
        self.door.close()
        thread.join(10)
        self.assertIsInstance(self.outcome[0], Unavailable)
        result.callback("fresh")

    def test_too_long(self) -> None:
        """After its time it gives up, and the coroutine is cancelled."""
        cancelled: list[object] = []
        result: Deferred[str] = Deferred(cancelled.append)
        self.turn_until_done(self.wait(result, 0.01))
        self.reactor.turn()
        self.assertIsInstance(self.outcome[0], DeadlineExceeded)
        self.assertEqual(cancelled, [result])
