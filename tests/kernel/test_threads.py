"""Blocking calls in threads, seen from coroutines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from criwist.kernel.threads import run_to_its_end


@define
class Pool:
    """A thread pool, and the reactor, whose work is done when the test says."""

    waiting: list[Callable[[], None]] = field(factory=list)

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, object], None], function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        """Remember what is to be done."""

        def work() -> None:
            try:
                result = function(*args, **kwargs)
            except OSError:
                onResult(False, Failure())
            else:
                onResult(True, result)

        self.waiting.append(work)

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call."""
        function(*args, **kwargs)

    def run(self) -> None:
        """Do the work."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


def _raise(error: OSError) -> None:
    raise error


class RunTests(SynchronousTestCase):
    """run_to_its_end."""

    def start(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Start *function* in a thread that has not got to it yet."""
        self.pool = Pool()
        return Deferred.fromCoroutine(run_to_its_end(self.pool, self.pool, function, *args))

    def test_result(self) -> None:
        """What the function returns is returned."""
        running = self.start(divmod, 7, 2)
        self.assertNoResult(running)
        self.pool.run()
        self.assertEqual(self.successResultOf(running), (3, 1))

    def test_error(self) -> None:
        """What it raises is raised."""
        running = self.start(_raise, OSError("no"))
        self.pool.run()
        self.failureResultOf(running, OSError)

    def test_cancelled(self) -> None:
        """A cancellation is raised once the function has returned, however often it is repeated."""
        running = self.start(divmod, 7, 2)
        running.cancel()
        running.cancel()
        self.assertNoResult(running)
        self.pool.run()
        self.failureResultOf(running, CancelledError)

    def test_error_after_a_cancellation(self) -> None:
        """An error says more than the cancellation before it."""
        running = self.start(_raise, OSError("no"))
        running.cancel()
        self.pool.run()
        self.failureResultOf(running, OSError)
