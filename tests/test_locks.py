"""One lock per thing."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from criwist.locks import Locks


class LocksTests(SynchronousTestCase):
    """Operations on one thing run one after the other."""

    def setUp(self) -> None:
        self.locks = Locks()
        self.begun: list[str] = []
        self.gates: dict[str, Deferred[None]] = {}

    def work(self, key: str, name: str) -> Deferred[None]:
        """Hold *key* until the gate *name* opens."""
        self.gates[name] = Deferred()

        async def run() -> None:
            async with self.locks.hold(key):
                self.begun.append(name)
                await self.gates[name]

        return Deferred.fromCoroutine(run())

    def test_same_key_takes_turns(self) -> None:
        """The second holder of a key begins when the first has ended."""
        self.work("a", "first")
        self.work("a", "second")
        self.assertEqual(self.begun, ["first"])
        self.gates["first"].callback(None)
        self.assertEqual(self.begun, ["first", "second"])

    def test_other_keys_do_not_wait(self) -> None:
        """Holders of different keys run in parallel."""
        self.work("a", "first")
        self.work("b", "second")
        self.assertEqual(self.begun, ["first", "second"])

    def test_failure_releases(self) -> None:
        """A holder that fails lets the next one in."""
        first = self.work("a", "first")
        self.work("a", "second")
        self.gates["first"].errback(ValueError("no"))
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.begun, ["first", "second"])

    def test_cancelled_waiter_leaves_the_queue(self) -> None:
        """A waiter that is cancelled neither runs nor keeps those behind it from running."""
        self.work("a", "first")
        second = self.work("a", "second")
        self.work("a", "third")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.gates["first"].callback(None)
        self.assertEqual(self.begun, ["first", "third"])

    def test_table_forgets(self) -> None:
        """A lock without holder and waiter takes no memory."""
        self.work("a", "first")
        self.work("a", "second")
        self.assertEqual(len(self.locks), 1)
        self.gates["first"].callback(None)
        self.gates["second"].callback(None)
        self.assertEqual(len(self.locks), 0)
