"""Polling the state of an exec.

The engine reports the end of an exec by an event, and nothing else: no event, no call that waits.  So criwist polls an
exec in the moments in which its state is about to change, and in no others:

- its start request is still on its way through the engine, so there is no pid to signal yet;
- the engine has answered "started", but has not created the terminal that is to be resized;
- the engine has reported the end, or may have, but has not recorded the exit code.

Each moment lasts milliseconds, so the interval is short and does not grow.  A limit keeps an engine that never gets
there from being polled for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import define
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from criwist.interfaces.engine import IDocker

#: Seconds between two polls of an exec.
POLL_INTERVAL: Final = 0.02

_T = TypeVar("_T")


@define(eq=False)
class ExecPoller:
    """Polls one exec.  Its methods raise what ``IDocker.inspect_exec`` raises."""

    _docker: IDocker
    _clock: IReactorTime
    exec_id: str

    async def exit_code(self) -> int | None:
        """Read the exec's state once; return the exit code, None if the engine has not recorded one."""
        state = await self._docker.inspect_exec(self.exec_id)
        code = state.get("ExitCode")
        return None if state.get("Running") or code is None else int(code)

    async def live_pid(self, limit: float) -> int | None:
        """Wait until the exec is started; return the pid of its process on the host.

        0 if the process has ended, so that its pid may be another's; None if it was not started within *limit* seconds.
        """

        async def pid_if_started() -> int | None:
            state = await self._docker.inspect_exec(self.exec_id)
            if state.get("ExitCode") is not None:
                return 0
            # The engine sets Running before it starts the process, and Pid after it.
            return int(state.get("Pid") or 0) or None if state.get("Running") else None

        return await self.retry(pid_if_started, limit)

    async def retry(self, attempt: Callable[[], Awaitable[_T | None]], limit: float) -> _T | None:
        """Repeat *attempt*, the first time at once, until it returns something; None after *limit* seconds."""
        for _ in range(round(limit / POLL_INTERVAL)):
            if (result := await attempt()) is not None:
                return result
            await deferLater(self._clock, POLL_INTERVAL, lambda: None)
        return await attempt()
