"""Blocking calls in threads, which a cancellation does not abandon."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def run_to_its_end(
    reactor: IReactorFromThreads,
    threadpool: ThreadPool,
    function: Callable[_P, _T],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _T:
    """Call *function* in a thread and return its result, or raise its exception.

    A thread cannot be cancelled.  The caller's cancellation waits until the function has returned, so that the caller
    can undo the function's work, and the thread changes nothing afterwards.
    """
    outcome: list[_T | Failure] = []
    waiting: list[Deferred[None]] = []

    def end(result: _T | Failure) -> None:
        outcome.append(result)
        for waiter in waiting:
            waiter.callback(None)

    deferToThreadPool(reactor, threadpool, function, *args, **kwargs).addBoth(end)
    cancellation: CancelledError | None = None
    while not outcome:
        waiting[:] = [Deferred()]
        try:
            await waiting[0]
        except CancelledError as error:
            cancellation = error
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    if cancellation is not None:
        raise cancellation
    return result
