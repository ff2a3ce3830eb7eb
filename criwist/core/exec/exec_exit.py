"""Waiting for the end of an exec, and its exit code.

An exec has ended when the engine reports it (the ``exec_die`` event, which has the code), not when its pipes close: a
command may close its output and go on.  But the engine reports nothing of a command that could not be run; its pipes
close.  So the end of the output is a reason to read the exec's state, and so is an event that may have been missed.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from criwist import errors
from criwist.core.exec.exec_polling import ExecPoller

#: Seconds in which the engine must record the exit code of an exec whose end it may have reported.
RECORDED_WITHIN: Final = 5.0


async def exit_code(poller: ExecPoller, end_event: Deferred[int | None], output_ended: Deferred[None]) -> int:
    """Wait for the end of a started exec; return its exit code.

    :param end_event: of ``EventFeed.exec_ended``.
    :param output_ended: fires when the exec's pipes are closed.
    :raises EngineFailure: it ended, but the engine records no exit code.
    """
    await first_of(end_event, output_ended)
    if not end_event.called:
        if (code := await poller.exit_code()) is not None:
            return code
        await first_of(end_event)
    reported = end_event.result
    code = reported if isinstance(reported, int) else await poller.retry(poller.exit_code, RECORDED_WITHIN)
    if code is None:
        raise errors.EngineFailure(f"exec {poller.exec_id} ended, but the engine has no exit code for it")
    return code


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
