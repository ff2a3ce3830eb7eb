"""One container's log, requested from the engine's log API.

It serves engines on another host and drivers that keep the log themselves.  The request follows the log until the
container has ended.  If the response ends before that (the engine was restarted, or lost its position in a file that it
had rotated), the log is requested again.  After the container's end, the engine's last line is compared with the CRI
file's, and if they differ, the log is read once more, without following.

The response for a container that is not started yet is empty and ends at once.  The request is then retried with
backoff until :meth:`ApiLog.follow` reports that the container runs, a line comes, or two minutes are over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.errors import CriwistError, EngineFailure, NotFound
from criwist.interfaces.engine import IDocker
from criwist.interfaces.logs import LoggedContainer
from criwist.logs.engine_api.api_writer import ApiWriter
from criwist.logs.engine_api.response import ApiResponse
from criwist.logs.positions import Positions
from criwist.logs.problem_reports import ProblemReports
from criwist.logs.unreadable_driver import unreadable_driver_line
from criwist.wire.apilog import EngineErrorText, Messages, TerminalMessages
from criwist.wire.stdcopy import StdcopyError

#: Seconds until a request whose response ended too soon is retried; doubled each time, as long as no line comes.
MIN_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 10.0
#: Seconds for which the log of a container that does not run is requested.
START_TIMEOUT: Final = 120.0
#: Seconds without data, after a container's end, after which a response that follows its log is dropped.
END_TIMEOUT: Final = 0.5

_ALL: Final = {"stdout": "1", "stderr": "1", "timestamps": "1"}


def is_reading_unsupported(error: EngineFailure) -> bool:
    """Whether the log driver keeps nothing that the engine could send: 501, seen on 20.10."""
    return "does not support reading" in str(error)


@define(eq=False)
class ApiLog:
    """One container's log, read from the API."""

    _container: LoggedContainer
    _docker: IDocker
    _writer: ApiWriter
    _positions: Positions = field(kw_only=True)
    _reactor: Any = field(kw_only=True)
    _problems: ProblemReports = field(kw_only=True)
    _log: Logger = field(factory=Logger, kw_only=True)
    #: The log is complete, or there is none: no more requests are made.
    _is_complete: bool = field(default=False, init=False)
    _has_exited: bool = field(default=False, init=False)
    #: The coroutine that makes the requests.
    _requests: Deferred[None] | None = field(default=None, init=False)
    _response: ApiResponse | None = field(default=None, init=False)
    _backoff: Deferred[None] | None = field(default=None, init=False)
    _waiters: list[Deferred[None]] = field(factory=list, init=False)

    # -- The methods of a log

    def follow(self, container: LoggedContainer) -> None:
        """Start the requests, or make the next one now."""
        if container.running and not self._container.running:
            self._container = container
        if container.running:
            self._has_exited = self._is_complete = False
        try:
            if self._writer.start() and not container.running:
                self._is_complete = True
        except OSError as error:
            self._problems.blocked(error)
        self._request_now()

    async def settled(self) -> None:
        """Return when the log of the container, which has ended, is complete."""
        self._has_exited = True
        if self._is_complete:
            return
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if self._response is not None:
            self._response.drop_when_idle(END_TIMEOUT)
        self._request_now()
        await waiter

    async def reopen(self) -> None:
        """Open the CRI file at its path again."""
        self._writer.reopen()

    async def forget(self) -> None:
        """Cancel the request, close the file and remove the record."""
        self._end()
        self._positions.remove(self._container.container_id)

    def stop(self) -> None:
        """Record the position, cancel the request and close the file."""
        self._writer.save(complete=self._is_complete and self._has_exited)
        self._end()

    def _end(self) -> None:
        self._is_complete = True
        if self._requests is not None:
            self._requests.cancel()
        self._writer.close()

    # -- Requests

    def _request_now(self) -> None:
        """End the backoff, or start the requests."""
        if self._backoff is not None:
            backoff, self._backoff = self._backoff, None
            backoff.callback(None)
        elif self._requests is None and not self._is_complete:
            self._requests = Deferred.fromCoroutine(self._request_until_complete())
            self._requests.addErrback(self._requests_failed)

    def _requests_failed(self, failure: Failure) -> None:
        self._requests = None
        if not failure.check(CancelledError):
            self._log.failure(
                "The log of {container} cannot be written", failure, container=self._container.container_id
            )
        self._release_waiters()

    async def _request_until_complete(self) -> None:
        backoff, idle = MIN_BACKOFF, 0.0
        while not self._is_complete:
            has_exited = self._has_exited
            has_content = False
            try:
                self._writer.start()
                if has_exited:
                    if not await self._has_last_line():
                        has_content = await self._request_log(follow=False)
                    self._is_complete = True
                else:
                    has_content = await self._request_log(follow=True)
                self._problems.unblocked()
            except NotFound:
                self._is_complete = True
            except (CriwistError, EngineErrorText, StdcopyError, OSError) as problem:
                self._request_failed(problem)
            if has_content:
                backoff, idle = MIN_BACKOFF, 0.0
            elif not self._container.running and not has_exited and idle > START_TIMEOUT:
                self._is_complete = True
            if not self._is_complete and has_exited == self._has_exited:
                await self._sleep(backoff)
                backoff, idle = min(2 * backoff, MAX_BACKOFF), idle + backoff
        self._requests = None
        self._writer.save(complete=self._has_exited)
        self._release_waiters()

    def _request_failed(self, problem: Exception) -> None:
        if isinstance(problem, EngineFailure) and is_reading_unsupported(problem):
            self._is_complete = True
            self._problems.driver_unreadable(self._container.driver, "")
            try:
                now = int(self._reactor.seconds() * 10**9)
                self._writer.write_if_empty(unreadable_driver_line(self._container.driver, now))
            except OSError as error:
                self._problems.blocked(error)
        else:
            self._problems.blocked(problem)

    async def _request_log(self, *, follow: bool) -> bool:
        """Write the engine's response, to its end; return whether it had any content."""
        parameters = {**_ALL, "since": self._writer.begin_response()}
        if follow:
            parameters["follow"] = "1"
        return await self._receive(parameters, self._writer.write_lines)

    async def _has_last_line(self) -> bool:
        """Whether the engine's last line is the CRI file's last line."""
        lines: list[bytes] = []
        await self._receive({**_ALL, "tail": "1"}, lines.extend)
        return self._writer.ends_with(lines[-1:])

    async def _receive(self, parameters: Mapping[str, str], write_lines: Callable[[list[bytes]], None]) -> bool:
        response = await self._docker.logs(self._container.container_id, parameters)
        messages = TerminalMessages() if self._container.tty else Messages()
        self._response = ApiResponse(messages, write_lines, self._writer.write_pending, self._reactor, self._problems)
        try:
            response.deliverBody(self._response)
            return await self._response.done
        finally:
            self._response = None

    async def _sleep(self, seconds: float) -> None:
        self._backoff = Deferred()
        timer = self._reactor.callLater(seconds, self._request_now)
        try:
            await self._backoff
        finally:
            self._backoff = None
            if timer.active():
                timer.cancel()

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
