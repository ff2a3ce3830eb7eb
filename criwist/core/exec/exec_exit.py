"""Waiting for the end of an exec, and its exit code.

An exec has ended when the engine reports it (the ``exec_die`` event), not when its pipes close: a command may close its
output and go on.  But the engine reports nothing of a command that could not be run; its pipes close.  So the end of
the output is a reason to read the exec's state, and so is an event that may have been missed.

The exit code is always read from the exec, never from the event, whose attributes a label of the container overrides.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from criwist import errors
from criwist.core.exec.exec_polling import ExecPoller
from criwist.core.state.exec_ends import ExecEnd

#: Seconds in which the engine must record the exit code of an exec whose end it has reported.
RECORDED_WITHIN: Final = 5.0
#: Seconds for which an exec is polled that an event may be about; then the next event is awaited.
PERHAPS_RECORDED_WITHIN: Final = 0.5


async def exit_code(poller: ExecPoller, end: ExecEnd, output_ended: Deferred[None]) -> int:
    """Wait for the end of a started exec; return its exit code.

    :param end: of ``ExecEnds.watch``, called before the start.
    :param output_ended: fires when the exec's pipes are closed.
    :raises EngineFailure: it ended, but the engine records no exit code.
    """
    told = end.told()
    await first_of(told, output_ended)
    if not told.called and (code := await poller.exit_code()) is not None:
        return code
    while True:
        named = await told
        limit = RECORDED_WITHIN if named else PERHAPS_RECORDED_WITHIN
        if (code := await poller.retry(poller.exit_code, limit)) is not None:
            return code
        if named:
            raise errors.EngineFailure(f"exec {poller.exec_id} ended, but the engine has no exit code for it")
        told = end.told()


def first_of(*deferreds: Deferred[Any]) -> Deferred[None]:
    """Return a Deferred that fires with None as soon as one of *deferreds* fires.

    They stay as they are when it is cancelled, and when another one of them is.
    """
    winner: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        if not winner.called:
            winner.callback(None)
        return result

    def failed(failure: Failure) -> Failure | None:
        if not winner.called:
            winner.errback(failure)
            return None
        return failure

    for deferred in deferreds:
        deferred.addCallbacks(fired, failed)
    return winner
