"""A thread pool without threads, which is the reactor that hears of its results too.

``deferToThreadPool(threads, threads, function)`` with such a *threads* is over when the call returns, or, if they are
*held*, when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.python.failure import Failure

#: mypy takes the threads below for what a caller expects: a thread pool, or a reactor.
_Expected: Any = object


@define
class MemoryThreads(_Expected):  # type: ignore[misc]
    """Threads that work in the caller's thread.

    :param held: the work waits for :meth:`run`.
    """

    held: bool = False
    waiting: list[Callable[[], None]] = field(factory=list, init=False)

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, object], None], function: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        """As ``twisted.python.threadpool.ThreadPool`` does, without a thread."""

        def work() -> None:
            try:
                result = function(*args, **kwargs)
            except Exception:  # noqa: BLE001 - a pool hands on whatever is raised
                onResult(False, Failure())
            else:
                onResult(True, result)

        self.waiting.append(work)
        if not self.held:
            self.run()

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """As ``IReactorFromThreads`` does, at once."""
        function(*args, **kwargs)

    def run(self) -> None:
        """Do the work that waits."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()
