"""Operations that leave nothing behind when they fail."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from criwist import errors
from criwist.core.undo import Undo, all_or_nothing, in_parallel


class UndoTests(SynchronousTestCase):
    """Undo actions run on failure, latest first."""

    def setUp(self) -> None:
        self.undone: list[str] = []

    def undoing(self, name: str, error: Exception | None = None) -> None:
        """Register an action that records its name, and raises *error* if there is one."""

        async def run() -> None:
            self.undone.append(name)
            if error is not None:
                raise error

        self.undo.push(name, run)

    def run_failing(self, error: BaseException, *steps: tuple[str, Exception | None]) -> Deferred[None]:
        """Run an operation that registers *steps* and then raises *error*."""

        async def operation(undo: Undo) -> None:
            self.undo = undo
            for name, fault in steps:
                self.undoing(name, fault)
            raise error

        return Deferred.fromCoroutine(all_or_nothing(operation))

    def test_success_undoes_nothing(self) -> None:
        """An operation that succeeds runs no undo action."""

        async def operation(undo: Undo) -> str:
            self.undo = undo
            self.undoing("a")
            return "made"

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(all_or_nothing(operation))), "made")
        self.assertEqual(self.undone, [])

    def test_failure_undoes_in_reverse(self) -> None:
        """The last step is undone first, and the caller gets the operation's error."""
        running = self.run_failing(errors.EngineFailure("no"), ("a", None), ("b", None))
        self.failureResultOf(running, errors.EngineFailure)
        self.assertEqual(self.undone, ["b", "a"])

    def test_failing_undo_hides_nothing(self) -> None:
        """An action that fails neither stops the others nor replaces the operation's error."""
        running = self.run_failing(
            errors.EngineFailure("no"), ("a", None), ("b", errors.Unavailable("away")), ("c", RuntimeError("bug"))
        )
        self.failureResultOf(running, errors.EngineFailure)
        self.assertEqual(self.undone, ["c", "b", "a"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_cancellation_undoes(self) -> None:
        """A cancellation runs the undo actions too."""
        gate: Deferred[None] = Deferred()

        async def operation(undo: Undo) -> None:
            self.undo = undo
            self.undoing("a")
            await gate

        running = Deferred.fromCoroutine(all_or_nothing(operation))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.undone, ["a"])


class InParallelTests(SynchronousTestCase):
    """in_parallel runs all operations to their end."""

    def test_first_error_after_all_ended(self) -> None:
        """The first error is raised when all operations have ended, not before."""
        gate: Deferred[None] = Deferred()

        async def fail() -> None:
            raise errors.EngineFailure("first")

        async def wait() -> None:
            await gate

        running = Deferred.fromCoroutine(in_parallel(fail(), wait()))
        self.assertNoResult(running)
        gate.callback(None)
        self.failureResultOf(running, errors.EngineFailure)

    def test_nothing_to_do(self) -> None:
        """Without operations it returns at once."""
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(in_parallel())))
