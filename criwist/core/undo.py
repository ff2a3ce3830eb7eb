"""Operations of several steps that leave nothing behind when they fail.

Each step that makes something registers its undo action *before*, or right after, whichever is safe.  A failure or a
cancellation runs the registered actions, latest first.  An undo action that fails is logged; the other actions still
run, and the caller still gets the first error.
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
_Action = Callable[[], Awaitable[None]]
_log = Logger()


@define(eq=False)
class Undo:
    """The undo actions of the steps that an operation has taken so far."""

    _steps: list[tuple[str, _Action]] = field(factory=list, init=False)

    def push(self, what: str, action: _Action) -> None:
        """Register an undo action.

        :param what: for the log, as in "could not <what>".
        :param action: idempotent; it raises nothing, or NotFound, if there is nothing to undo.
        """
        self._steps.append((what, action))

    async def unwind(self) -> None:
        """Run all undo actions, latest first."""
        while self._steps:
            what, action = self._steps.pop()
            try:
                await action()
            except errors.NotFound:
                continue
            except errors.CriwistError as error:
                _log.error("could not {what}: {error}", what=what, error=str(error))
            except Exception:  # noqa: BLE001 - the other actions must run, whatever this one raised
                _log.failure("could not {what}", what=what)


async def all_or_nothing(operation: Callable[[Undo], Awaitable[_T]]) -> _T:
    """Run *operation*; if it fails or is cancelled, run its undo actions, then raise its error."""
    undo = Undo()
    try:
        return await operation(undo)
    except (
        Exception
    ):  # CancelledError is one; GeneratorExit is not: a coroutine that is collected must not start anything
        await undo.unwind()
        raise


async def in_parallel(*operations: Coroutine[Any, Any, None]) -> None:
    """Run all of *operations* to their end, then raise the error of the first one that failed, if any."""
    failures: list[Failure] = []
    await DeferredList([Deferred.fromCoroutine(one).addErrback(failures.append) for one in operations])
    if failures:
        failures[0].raiseException()
