"""A cooperative scheduler: many followers share the reactor's thread, and none delays the others for long.

A follower works in steps of a millisecond or two at most.  Followers with work stand in a run queue.  Each iteration of
the reactor takes steps from the queue's front until a time slice of a millisecond is over; a follower that has more
work goes to the queue's end.  A container that floods its log therefore costs each other follower one step, and the
rest of the daemon no more than a time slice.  (In a thread of their own the steps would hold up the reactor for longer:
it would wait for the interpreter's lock, several times for each RPC.)

A follower that has done all its work is woken when its file changes, but not before it has rested for a while: a
container that writes a thousand lines a second costs ten wake-ups a second, one that writes a line a second costs one,
and a silent one costs none.  There are three timers, however many followers there are: for those that rest, for those
that are blocked (a full disk), and for those that have to poll (the kernel has no watches left).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

#: Seconds of steps in one iteration of the reactor.
TIME_SLICE: Final = 0.001
#: Seconds for which a follower rests after it has done all its work.  A reader that follows a busy log gets a line that
#: much later; a flood is read in pieces of that size.
REST: Final = 0.1
#: Seconds until a blocked follower tries again.
RETRY_INTERVAL: Final = 1.0
#: Seconds between the polls of a follower that gets no notification.
POLL_INTERVAL: Final = 1.0


class Progress(Enum):
    """How a step ended."""

    #: There may be more work.
    MORE = "more"
    #: All work is done.
    DONE = "done"
    #: The step failed; a later retry may succeed.
    BLOCKED = "blocked"


class Wakeup(Enum):
    """How a follower that has done all its work learns about more."""

    #: It wakes itself through :meth:`Scheduler.wake`.
    NOTIFIED = "notified"
    #: There is more work already.
    IMMEDIATE = "immediate"
    #: Nothing notifies it: it has to poll.
    POLLED = "polled"


class ITask(Protocol):
    """A follower, as the scheduler runs it."""

    def step(self) -> Progress:
        """Work for a millisecond or two."""

    def subscribe(self) -> Wakeup:
        """Subscribe to changes, after a step that ended with ``DONE``."""


@define(eq=False)
class _State:
    """A task's place in the scheduler."""

    is_queued: bool = False
    is_resting: bool = False
    done_at: float = float("-inf")
    waiters: list[Deferred[None]] = field(factory=list)


@define(eq=False)
class Scheduler:
    """Runs the steps of all tasks; *reactor* is IReactorTime, and its monotonic clock measures the time slice."""

    _reactor: Any
    _queue: deque[ITask] = field(factory=deque, init=False)
    _states: dict[ITask, _State] = field(factory=dict, init=False)
    _resting: list[ITask] = field(factory=list, init=False)
    _blocked: list[ITask] = field(factory=list, init=False)
    _polling: list[ITask] = field(factory=list, init=False)
    _timers: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def wake(self, task: ITask) -> None:
        """Queue *task*: at once, or when it has rested.  Idempotent."""
        state = self._states.setdefault(task, _State())
        if state.is_queued or state.is_resting:
            return
        if self._reactor.seconds() - state.done_at < REST:
            state.is_resting = True
            self._resting.append(task)
            self._schedule("rest", REST, self._queue_rested)
        else:
            self._enqueue(task, state)

    def drain(self, task: ITask) -> Deferred[None]:
        """Run *task* before all others until its work is done.

        The Deferred fires with None when *task* has done all its work or is removed.  It may be cancelled.
        """
        state = self._states.setdefault(task, _State())
        waiter: Deferred[None] = Deferred(state.waiters.remove)
        state.waiters.append(waiter)
        if state.is_queued:
            self._queue.remove(task)
        state.is_queued = True
        self._queue.appendleft(task)
        self._schedule("time slice", 0, self._run_time_slice)
        return waiter

    def remove(self, task: ITask) -> None:
        """Take no more steps of *task*.  Idempotent."""
        state = self._states.pop(task, None)
        if state is None:
            return
        for tasks in (self._queue, self._resting, self._blocked, self._polling):
            if task in tasks:
                tasks.remove(task)
        self._release_waiters(state)

    def stop(self) -> None:
        """Remove all tasks and cancel all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in list(self._states):
            self.remove(task)

    def _enqueue(self, task: ITask, state: _State) -> None:
        state.is_queued = True
        self._queue.append(task)
        self._schedule("time slice", 0, self._run_time_slice)

    def _run_time_slice(self) -> None:
        end = self._reactor.seconds() + TIME_SLICE
        try:
            while self._queue:
                self._step(self._queue.popleft())
                if self._reactor.seconds() >= end:
                    break
        finally:
            if self._queue:
                self._schedule("time slice", 0, self._run_time_slice)

    def _step(self, task: ITask) -> None:
        state = self._states[task]
        state.is_queued = False
        progress = task.step()
        if task not in self._states:
            return
        if progress is Progress.MORE:
            # A task with waiters stays in front.
            state.is_queued = True
            if state.waiters:
                self._queue.appendleft(task)
            else:
                self._queue.append(task)
        elif progress is Progress.BLOCKED:
            if task not in self._blocked:
                self._blocked.append(task)
            self._schedule("retry", RETRY_INTERVAL, self._queue_blocked)
        else:
            self._finish_work(task, state)

    def _finish_work(self, task: ITask, state: _State) -> None:
        state.done_at = self._reactor.seconds()
        wakeup = task.subscribe()
        if wakeup is Wakeup.POLLED and task not in self._polling:
            self._polling.append(task)
            self._schedule("poll", POLL_INTERVAL, self._queue_polling)
        if wakeup is not Wakeup.IMMEDIATE:
            self._release_waiters(state)
        elif state.waiters:
            state.is_queued = True
            self._queue.appendleft(task)
        else:
            self.wake(task)

    def _release_waiters(self, state: _State) -> None:
        waiters, state.waiters = state.waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _schedule(self, name: str, delay: float, call: Callable[[], None]) -> None:
        if name in self._timers:
            return

        def due() -> None:
            del self._timers[name]
            call()

        self._timers[name] = self._reactor.callLater(delay, due)

    def _queue_rested(self) -> None:
        rested, self._resting = self._resting, []
        for task in rested:
            self._states[task].is_resting = False
        self._enqueue_all(rested)

    def _queue_blocked(self) -> None:
        blocked, self._blocked = self._blocked, []
        self._enqueue_all(blocked)

    def _queue_polling(self) -> None:
        polling, self._polling = self._polling, []
        self._enqueue_all(polling)

    def _enqueue_all(self, tasks: list[ITask]) -> None:
        for task in tasks:
            state = self._states[task]
            if not state.is_queued:
                self._enqueue(task, state)
