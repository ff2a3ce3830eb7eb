"""Blocking calls in threads, awaited by coroutines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from criwist.threads import run_to_its_end
from tests.doubles.memory_threads import MemoryThreads


def _raise(error: OSError) -> None:
    raise error


class RunTests(SynchronousTestCase):
    """run_to_its_end."""

    def start(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Start *function* in a thread that does not run it yet."""
        self.pool = MemoryThreads(held=True)
        return Deferred.fromCoroutine(run_to_its_end(self.pool, self.pool, function, *args))

    def test_result(self) -> None:
        """The function's result is returned."""
        running = self.start(divmod, 7, 2)
        self.assertNoResult(running)
        self.pool.run()
        self.assertEqual(self.successResultOf(running), (3, 1))

    def test_error(self) -> None:
        """The function's exception is raised."""
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
        """The function's exception wins over a cancellation before it."""
        running = self.start(_raise, OSError("no"))
        running.cancel()
        self.pool.run()
        self.failureResultOf(running, OSError)
