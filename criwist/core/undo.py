"""Operations of several steps that leave nothing behind when they fail.

Each step that makes something registers how to unmake it *before* it is made, or right after, whichever is safe;
a failure or a cancellation runs what is registered, latest first.  An undoing that fails is logged and does not
hide the error that caused it, nor keep the others from being run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist import errors

_T = TypeVar("_T")
_Undoing = Callable[[], Awaitable[None]]
_log = Logger()


@define(eq=False)
class Undo:
    """How to unmake what an operation has made so far."""

    _steps: list[tuple[str, _Undoing]] = field(factory=list, init=False)

    def push(self, what: str, undoing: _Undoing) -> None:
        """Register an undoing.

        :param what: for the log, as in "could not <what>".
        :param undoing: idempotent; finding nothing to do is no error.
        """
        self._steps.append((what, undoing))

    async def unwind(self) -> None:
        """Run all undoings, latest first."""
        while self._steps:
            what, undoing = self._steps.pop()
            try:
                await undoing()
            except errors.NotFound:
                continue
            except errors.CriwistError as error:
                _log.error("could not {what}: {error}", what=what, error=str(error))
            except Exception:  # noqa: BLE001 - the other undoings must run, whatever this one met
                _log.failure("could not {what}", what=what)


async def all_or_nothing(operation: Callable[[Undo], Awaitable[_T]]) -> _T:
    """Run *operation*; if it fails or is cancelled, undo what it has registered and raise what it raised."""
    undo = Undo()
    try:
        return await operation(undo)
    except Exception:  # a cancellation is one; the collection of a coroutine is not, and must not start anything
        await undo.unwind()
        raise


async def in_parallel(*operations: Coroutine[Any, Any, None]) -> None:
    """Run all of *operations* to their end, then raise what the first of them that failed raised, if any."""
    failures: list[Failure] = []
    await DeferredList([Deferred.fromCoroutine(one).addErrback(failures.append) for one in operations])
    if failures:
        failures[0].raiseException()
