"""Turns: many followers, one thread, and nobody waits long.

A follower does its work in steps of a millisecond or two at most.  Those that have work stand in a queue; each turn of
the reactor takes steps from its front until a millisecond is over, and who is not done goes to its end.  One that
floods therefore costs the others a step each, and the rest of the daemon no more than a turn.  (In a thread of their
own the steps would hold up the reactor for longer: it would wait for the interpreter's lock, several times for each
RPC.)

A follower that is done is called when something happens to its file, and then not again for a while: a container that
writes a thousand lines a second is looked at ten times a second, one that writes a line a second once, one that is
silent never.  There are three timers, whatever the number of followers: for those that were called too soon, for those
that cannot write (a full disk), and for those that cannot be called (the kernel has no watches left).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

#: Seconds that steps are taken for before the reactor gets its turn.
TURN: Final = 0.001
#: Seconds between a follower's looks at its file.  Who reads along waits that long for a line; a flood is read in
#: pieces of that size.
REST: Final = 0.1
#: Seconds until a follower that could not write tries again.
RETRY: Final = 1.0
#: Seconds between the looks of a follower that nobody calls.
POLL: Final = 1.0


class Progress(Enum):
    """How a step ended."""

    #: There may be more to do.
    MORE = "more"
    #: All is done.
    DONE = "done"
    #: Something is in the way; trying again later makes sense.
    STUCK = "stuck"


class IStepper(Protocol):
    """Who takes turns."""

    def step(self) -> Progress:
        """Do a little."""

    def rest(self) -> bool | None:
        """All is done.  Ask to be called when there is more; True: there is already; None: nobody will call."""


@define(eq=False)
class _Place:
    """Where a follower is."""

    queued: bool = False
    resting: bool = False
    last: float = float("-inf")
    waiting: list[Deferred[None]] = field(factory=list)


@define(eq=False)
class Scheduler:
    """The turns of all followers; *reactor* is IReactorTime, with its own monotonic clock for what a turn takes."""

    _reactor: Any
    _queue: deque[IStepper] = field(factory=deque, init=False)
    _places: dict[IStepper, _Place] = field(factory=dict, init=False)
    _resting: list[IStepper] = field(factory=list, init=False)
    _stuck: list[IStepper] = field(factory=list, init=False)
    _uncalled: list[IStepper] = field(factory=list, init=False)
    _timers: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def call(self, stepper: IStepper) -> None:
        """There is something to do for *stepper*: at once, or when it has rested."""
        place = self._places.setdefault(stepper, _Place())
        if place.queued or place.resting:
            return
        if self._reactor.seconds() - place.last < REST:
            place.resting = True
            self._resting.append(stepper)
            self._schedule("rest", REST, self._wake)
        else:
            self._enqueue(stepper, place)

    def finish(self, stepper: IStepper) -> Deferred[None]:
        """Let *stepper* go first; fires when it has done all that there was, or was left out.  May be cancelled."""
        place = self._places.setdefault(stepper, _Place())
        waiting: Deferred[None] = Deferred(place.waiting.remove)
        place.waiting.append(waiting)
        if place.queued:
            self._queue.remove(stepper)
        place.queued = True
        self._queue.appendleft(stepper)
        self._schedule("turn", 0, self._turn)
        return waiting

    def leave_out(self, stepper: IStepper) -> None:
        """*stepper* takes no more turns."""
        place = self._places.pop(stepper, None)
        if place is None:
            return
        for line in (self._queue, self._resting, self._stuck, self._uncalled):
            if stepper in line:
                line.remove(stepper)
        self._release(place)

    def stop(self) -> None:
        """No more turns."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for stepper in list(self._places):
            self.leave_out(stepper)

    def _enqueue(self, stepper: IStepper, place: _Place) -> None:
        place.queued = True
        self._queue.append(stepper)
        self._schedule("turn", 0, self._turn)

    def _turn(self) -> None:
        end = self._reactor.seconds() + TURN
        try:
            while self._queue:
                self._step(self._queue.popleft())
                if self._reactor.seconds() >= end:
                    break
        finally:
            if self._queue:
                self._schedule("turn", 0, self._turn)

    def _step(self, stepper: IStepper) -> None:
        place = self._places[stepper]
        place.queued = False
        progress = stepper.step()
        if stepper not in self._places:
            return
        if progress is Progress.MORE:
            # Those who are waited for stay in front.
            place.queued = True
            if place.waiting:
                self._queue.appendleft(stepper)
            else:
                self._queue.append(stepper)
        elif progress is Progress.STUCK:
            if stepper not in self._stuck:
                self._stuck.append(stepper)
            self._schedule("stuck", RETRY, self._retry)
        else:
            self._done(stepper, place)

    def _done(self, stepper: IStepper, place: _Place) -> None:
        place.last = self._reactor.seconds()
        more = stepper.rest()
        if more is None and stepper not in self._uncalled:
            self._uncalled.append(stepper)
            self._schedule("uncalled", POLL, self._poll)
        if more and place.waiting:
            place.queued = True
            self._queue.appendleft(stepper)
        elif more:
            self.call(stepper)
        else:
            self._release(place)

    def _release(self, place: _Place) -> None:
        waiting, place.waiting = place.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _schedule(self, name: str, delay: float, call: Callable[[], None]) -> None:
        if name in self._timers:
            return

        def due() -> None:
            del self._timers[name]
            call()

        self._timers[name] = self._reactor.callLater(delay, due)

    def _wake(self) -> None:
        rested, self._resting = self._resting, []
        for stepper in rested:
            place = self._places[stepper]
            place.resting = False
            if not place.queued:
                self._enqueue(stepper, place)

    def _retry(self) -> None:
        stuck, self._stuck = self._stuck, []
        self._enqueue_all(stuck)

    def _poll(self) -> None:
        uncalled, self._uncalled = self._uncalled, []
        self._enqueue_all(uncalled)

    def _enqueue_all(self, steppers: list[IStepper]) -> None:
        for stepper in steppers:
            place = self._places[stepper]
            if not place.queued:
                self._enqueue(stepper, place)
