"""The cooperative scheduler of many followers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.logs.scheduler import POLL_INTERVAL, REST, RETRY_INTERVAL, TIME_SLICE, Progress, Scheduler, Wakeup


class Task:
    """A task of some steps, each of which takes half a time slice on the clock."""

    def __init__(self, clock: Clock, name: str, done: list[str], steps: int = 0) -> None:
        self.steps = steps
        self.is_blocked = False
        self.wakeup = Wakeup.NOTIFIED
        self._clock = clock
        self._name = name
        self._done = done

    def step(self) -> Progress:
        """Record the step."""
        if self.is_blocked:
            self._done.append(self._name + "!")
            return Progress.BLOCKED
        self._done.append(self._name)
        self._clock.rightNow += TIME_SLICE / 2
        self.steps -= 1
        return Progress.MORE if self.steps > 0 else Progress.DONE

    def subscribe(self) -> Wakeup:
        """Return what the test has set."""
        return self.wakeup


class SchedulerTests(SynchronousTestCase):
    """Which task is run when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.scheduler = Scheduler(self.clock)
        self.done: list[str] = []

    def _task(self, name: str, steps: int = 1) -> Task:
        return Task(self.clock, name, self.done, steps)

    def test_round_robin(self) -> None:
        """A task with much work leaves every second step to another task."""
        flood, other = self._task("f", 5), self._task("o", 2)
        self.scheduler.wake(flood)
        self.scheduler.wake(other)
        for _ in range(9):
            self.clock.advance(0)
        self.assertEqual(self.done, ["f", "o", "f", "o", "f", "f", "f"])

    def test_time_slice(self) -> None:
        """One iteration of the reactor takes no more steps than fit into a time slice."""
        self.scheduler.wake(self._task("f", 100))
        self.scheduler._run_time_slice()
        self.assertEqual(len(self.done), 2)

    def test_rests(self) -> None:
        """A task that is woken again at once runs when it has rested, and once only."""
        task = self._task("a")
        self.scheduler.wake(task)
        self.clock.advance(0)
        for _ in range(5):
            self.scheduler.wake(task)
            self.clock.advance(0)
        self.assertEqual(self.done, ["a"])
        self.clock.advance(REST)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a"])

    def test_more_while_subscribing(self) -> None:
        """Work that arrived between the last step and the subscription is done after a rest."""
        task = self._task("a")
        task.wakeup = Wakeup.IMMEDIATE
        self.scheduler.wake(task)
        self.clock.advance(0)
        task.wakeup = Wakeup.NOTIFIED
        self.clock.advance(REST)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_blocked(self) -> None:
        """A blocked task is retried every second, and delays no other task."""
        task = self._task("a", 2)
        task.is_blocked = True
        self.scheduler.wake(task)
        self.scheduler.wake(self._task("b"))
        self.clock.advance(0)
        self.clock.advance(RETRY_INTERVAL)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a!", "b", "a!"])
        task.is_blocked = False
        self.clock.advance(RETRY_INTERVAL)
        self.clock.advance(0)
        self.assertEqual(self.done[3:], ["a", "a"])

    def test_polls(self) -> None:
        """A task that gets no notification polls every second."""
        task = self._task("a")
        task.wakeup = Wakeup.POLLED
        self.scheduler.wake(task)
        self.clock.advance(0)
        self.clock.advance(POLL_INTERVAL)
        self.clock.advance(0)
        self.clock.advance(POLL_INTERVAL)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a", "a"])

    def test_drain(self) -> None:
        """A drained task runs before all others, without rests, until its work is done."""
        flood, last = self._task("f", 9), self._task("l", 3)
        self.scheduler.wake(flood)
        finished = self.scheduler.drain(last)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.done[:3], ["l", "l", "l"])
        self.successResultOf(finished)

    def test_drain_blocked(self) -> None:
        """Draining a blocked task waits until it is not blocked; the wait can be cancelled."""
        task = self._task("a")
        task.is_blocked = True
        finished, cancelled = self.scheduler.drain(task), self.scheduler.drain(task)
        self.clock.advance(0)
        self.assertNoResult(finished)
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        task.is_blocked = False
        self.clock.advance(RETRY_INTERVAL)
        self.clock.advance(0)
        self.successResultOf(finished)

    def test_remove(self) -> None:
        """A removed task takes no more steps, in whatever state it was, and its waiters are released."""
        for state in ("queued", "resting", "blocked", "polling"):
            task = self._task(state)
            task.is_blocked = state == "blocked"
            task.wakeup = Wakeup.POLLED if state == "polling" else Wakeup.NOTIFIED
            self.scheduler.wake(task)
            if state != "queued":
                self.clock.advance(0)
                self.scheduler.wake(task)
            finished = self.scheduler.drain(task)
            self.done.clear()
            self.scheduler.remove(task)
            self.successResultOf(finished)
            self.clock.advance(10)
            self.assertEqual(self.done, [])

    def test_fault(self) -> None:
        """An exception of one task does not stop the others."""
        bad, good = self._task("bad"), self._task("good")
        bad.step = lambda: 1 / 0  # type: ignore[assignment,return-value] # raises
        self.scheduler.wake(bad)
        self.scheduler.wake(good)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 0)
        self.clock.advance(0)
        self.assertEqual(self.done, ["good"])

    def test_stop(self) -> None:
        """A stopped scheduler has no timers."""
        self.scheduler.wake(self._task("a", 3))
        self.scheduler.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
