"""The end of an exec: waiting for it, and its exit code.

An exec has ended when the engine says so (``exec_die``, which has the code), not when its pipes close: a command may
close its output and go on.  But of one that could not be run the engine says nothing, its pipes close; so that is a
reason to look, and so is an event that may have been missed.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from criwist import errors
from criwist.interfaces.engine import IDocker

#: Seconds between looks at an exec whose state is about to change.
LOOK_PAUSE = 0.02
#: Looks at one whose end was announced but is not recorded yet.
_LOOKS = 250


async def exit_code(
    docker: IDocker, clock: IReactorTime, exec_id: str, told: Deferred[int | None], output_ended: Deferred[None]
) -> int:
    """Wait for the end of a started exec; its exit code.

    :param told: of ``EngineFeed.exec_ended``.
    :param output_ended: fires when its pipes are closed.
    :raises EngineFailure: it ended, but the engine records no exit code.
    """
    await first_of(told, output_ended)
    looks = 0
    while True:
        code = told.result if told.called else None
        if isinstance(code, int):
            return code
        inspected = await docker.inspect_exec(exec_id)
        if not inspected.get("Running") and inspected.get("ExitCode") is not None:
            return int(inspected["ExitCode"])
        if not told.called:
            await first_of(told)
            continue
        looks += 1
        if looks == _LOOKS:
            raise errors.EngineFailure(f"exec {exec_id} ended, but the engine has no exit code for it")
        await deferLater(clock, LOOK_PAUSE, lambda: None)


def first_of(*deferreds: Deferred[Any]) -> Deferred[None]:
    """Fires with None as soon as one of *deferreds* fires.  They stay as they are, whoever is cancelled."""
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
