"""One container's log, from the engine's log API.

For engines on another host and drivers that keep their own books.  The request follows the log until the container has
ended; an answer that ends before that (the engine was restarted, or lost its place in a file that it had changed) is
asked for again.  After the container's end the engine's last line is compared with ours, and if it is another one, all
is read once more, without following.

A container that is followed before it is started gives an empty answer at once; it is asked again and again then, less
and less often, until :meth:`ApiLog.follow` says that it runs, something comes, or two minutes are over.
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
from criwist.logs.reports import Reports
from criwist.logs.unreadable_driver import notice
from criwist.wire.apilog import EngineErrorText, Messages, TerminalMessages
from criwist.wire.stdcopy import StdcopyError

#: Seconds until a request that ended too soon is made again; doubled each time, as long as nothing comes.
SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 10.0
#: Seconds that the log of a container that does not run is asked for.
START_LIMIT: Final = 120.0
#: Seconds of silence, after a container's end, in which the engine must have ended the answer that follows its log.
END_LIMIT: Final = 0.5

_ALL: Final = {"stdout": "1", "stderr": "1", "timestamps": "1"}


def cannot_be_read(error: EngineFailure) -> bool:
    """The driver keeps nothing that the engine could send: 501, seen on 20.10."""
    return "does not support reading" in str(error)


@define(eq=False)
class ApiLog:
    """One container's log, as the rest of the daemon deals with it."""

    _container: LoggedContainer
    _docker: IDocker
    _file: ApiWriter
    _positions: Positions
    _reactor: Any
    _reports: Reports
    _log: Logger = field(factory=Logger, kw_only=True)
    #: Its log is whole, or there is none: nothing is asked any more.
    _complete: bool = field(default=False, init=False)
    _exited: bool = field(default=False, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _answer: ApiResponse | None = field(default=None, init=False)
    _pause: Deferred[None] | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    # -- What the daemon asks for

    def follow(self, container: LoggedContainer) -> None:
        """Begin, or look again now."""
        if container.running and not self._container.running:
            self._container = container
        if container.running:
            self._exited = self._complete = False
        try:
            if self._file.start() and not container.running:
                self._complete = True
        except OSError as error:
            self._reports.stuck(error)
        self._run()

    async def settled(self) -> None:
        """Return when the log of the container, which has ended, is whole."""
        self._exited = True
        if self._complete:
            return
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._answer is not None:
            self._answer.drop_when_silent(END_LIMIT)
        self._run()
        await waiting

    async def reopen(self) -> None:
        """Open the file anew."""
        self._file.reopen()

    async def forget(self) -> None:
        """Drop what is known of it."""
        self._end()
        self._positions.remove(self._container.container_id)

    def stop(self) -> None:
        """Record how far it is, and let go of everything."""
        self._file.save(complete=self._complete and self._exited)
        self._end()

    def _end(self) -> None:
        self._complete = True
        if self._running is not None:
            self._running.cancel()
        self._file.close()

    # -- The course of things

    def _run(self) -> None:
        """Have the requests under way, the next one now."""
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause.callback(None)
        elif self._running is None and not self._complete:
            self._running = Deferred.fromCoroutine(self._requests())
            self._running.addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        self._running = None
        if not failure.check(CancelledError):
            self._log.failure("the log of {container}", failure, container=self._container.container_id)
        self._release()

    async def _requests(self) -> None:
        pause, quiet = SHORTEST_PAUSE, 0.0
        while not self._complete:
            exited = self._exited
            received = False
            try:
                self._file.start()
                if exited:
                    if not await self._is_whole():
                        received = await self._request(follow=False)
                    self._complete = True
                else:
                    received = await self._request(follow=True)
                self._reports.unstuck()
            except NotFound:
                self._complete = True
            except (CriwistError, EngineErrorText, StdcopyError, OSError) as problem:
                self._have_problem(problem)
            if received:
                pause, quiet = SHORTEST_PAUSE, 0.0
            elif not self._container.running and not exited and quiet > START_LIMIT:
                self._complete = True
            if not self._complete and exited == self._exited:
                await self._sleep(pause)
                pause, quiet = min(2 * pause, LONGEST_PAUSE), quiet + pause
        self._running = None
        self._file.save(complete=self._exited)
        self._release()

    def _have_problem(self, problem: Exception) -> None:
        if isinstance(problem, EngineFailure) and cannot_be_read(problem):
            self._complete = True
            self._reports.unreadable(self._container.driver, "")
            try:
                self._file.note(notice(self._container.driver, int(self._reactor.seconds() * 10**9)))
            except OSError as error:
                self._reports.stuck(error)
        else:
            self._reports.stuck(problem)

    async def _request(self, *, follow: bool) -> bool:
        """Take what the engine sends, to its end; whether it was anything."""
        parameters = {**_ALL, "since": self._file.begin()}
        if follow:
            parameters["follow"] = "1"
        return await self._ask(parameters, self._file.take)

    async def _is_whole(self) -> bool:
        """Whether the engine's last line is ours."""
        lines: list[bytes] = []
        await self._ask({**_ALL, "tail": "1"}, lines.extend)
        return self._file.ends_with(lines[-1:])

    async def _ask(self, parameters: Mapping[str, str], take: Callable[[list[bytes]], None]) -> bool:
        response = await self._docker.logs(self._container.container_id, parameters)
        messages = TerminalMessages() if self._container.tty else Messages()
        self._answer = ApiResponse(messages, take, self._file.write, self._reactor, self._reports)
        try:
            response.deliverBody(self._answer)
            return await self._answer.done
        finally:
            self._answer = None

    async def _sleep(self, seconds: float) -> None:
        self._pause = Deferred()
        timer = self._reactor.callLater(seconds, self._run)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer.active():
                timer.cancel()

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
