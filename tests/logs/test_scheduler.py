"""Turns of many followers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.logs.scheduler import POLL, REST, RETRY, TURN, Progress, Scheduler


class Stepper:
    """Has some steps to do, each of which takes a while on the clock."""

    def __init__(self, clock: Clock, name: str, done: list[str], steps: int = 0) -> None:
        self.steps = steps
        self.stuck = False
        self.resting: bool | None = False
        self._clock = clock
        self._name = name
        self._done = done

    def step(self) -> Progress:
        """Do one."""
        if self.stuck:
            self._done.append(self._name + "!")
            return Progress.STUCK
        self._done.append(self._name)
        self._clock.rightNow += TURN / 2
        self.steps -= 1
        return Progress.MORE if self.steps > 0 else Progress.DONE

    def rest(self) -> bool | None:
        """Say what the test wants."""
        return self.resting


class RoundsTests(SynchronousTestCase):
    """Who gets a turn when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds = Scheduler(self.clock)
        self.done: list[str] = []

    def _stepper(self, name: str, steps: int = 1) -> Stepper:
        return Stepper(self.clock, name, self.done, steps)

    def test_in_turn(self) -> None:
        """One that has much to do leaves every second step to another."""
        flood, other = self._stepper("f", 5), self._stepper("o", 2)
        self.rounds.call(flood)
        self.rounds.call(other)
        for _ in range(9):
            self.clock.advance(0)
        self.assertEqual(self.done, ["f", "o", "f", "o", "f", "f", "f"])

    def test_a_turn_is_short(self) -> None:
        """A turn of the reactor takes no more steps than fit."""
        self.rounds.call(self._stepper("f", 100))
        self.rounds._turn()
        self.assertEqual(len(self.done), 2)

    def test_rests(self) -> None:
        """One that is called again at once is called when it has rested, and once only."""
        stepper = self._stepper("a")
        self.rounds.call(stepper)
        self.clock.advance(0)
        for _ in range(5):
            self.rounds.call(stepper)
            self.clock.advance(0)
        self.assertEqual(self.done, ["a"])
        self.clock.advance(REST)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a"])

    def test_more_while_asking(self) -> None:
        """Something that came between the last look and the asking to be called is seen after a rest."""
        stepper = self._stepper("a")
        stepper.resting = True
        self.rounds.call(stepper)
        self.clock.advance(0)
        stepper.resting = False
        self.clock.advance(REST)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stuck(self) -> None:
        """One that is stuck tries again now and then, and holds up nobody."""
        stepper = self._stepper("a", 2)
        stepper.stuck = True
        self.rounds.call(stepper)
        self.rounds.call(self._stepper("b"))
        self.clock.advance(0)
        self.clock.advance(RETRY)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a!", "b", "a!"])
        stepper.stuck = False
        self.clock.advance(RETRY)
        self.clock.advance(0)
        self.assertEqual(self.done[3:], ["a", "a"])

    def test_uncalled(self) -> None:
        """One that nobody will call looks by itself, at its leisure."""
        stepper = self._stepper("a")
        stepper.resting = None
        self.rounds.call(stepper)
        self.clock.advance(0)
        self.clock.advance(POLL)
        self.clock.advance(0)
        self.clock.advance(POLL)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a", "a"])

    def test_finish(self) -> None:
        """Who is waited for goes first, without rests, until all is done."""
        flood, last = self._stepper("f", 9), self._stepper("l", 3)
        self.rounds.call(flood)
        finished = self.rounds.finish(last)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.done[:3], ["l", "l", "l"])
        self.successResultOf(finished)

    def test_finish_stuck(self) -> None:
        """One that is stuck is waited for until it is not; the waiting can be cancelled."""
        stepper = self._stepper("a")
        stepper.stuck = True
        finished, given_up = self.rounds.finish(stepper), self.rounds.finish(stepper)
        self.clock.advance(0)
        self.assertNoResult(finished)
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        stepper.stuck = False
        self.clock.advance(RETRY)
        self.clock.advance(0)
        self.successResultOf(finished)

    def test_leave_out(self) -> None:
        """One that is left out takes no more turns, wherever it stood; who waits for it is told."""
        for prepare in ("queued", "resting", "stuck", "uncalled"):
            stepper = self._stepper(prepare)
            stepper.stuck = prepare == "stuck"
            stepper.resting = None if prepare == "uncalled" else False
            self.rounds.call(stepper)
            if prepare != "queued":
                self.clock.advance(0)
                self.rounds.call(stepper)
            finished = self.rounds.finish(stepper)
            self.done.clear()
            self.rounds.leave_out(stepper)
            self.successResultOf(finished)
            self.clock.advance(10)
            self.assertEqual(self.done, [])

    def test_fault(self) -> None:
        """A fault of one does not end the turns of the others."""
        bad, good = self._stepper("bad"), self._stepper("good")
        bad.step = lambda: 1 / 0  # type: ignore[assignment,return-value] # the fault
        self.rounds.call(bad)
        self.rounds.call(good)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 0)
        self.clock.advance(0)
        self.assertEqual(self.done, ["good"])

    def test_stop(self) -> None:
        """After the end there are no timers left."""
        self.rounds.call(self._stepper("a", 3))
        self.rounds.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
