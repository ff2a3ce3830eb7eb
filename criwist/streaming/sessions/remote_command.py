"""Exec and attach: one session, whatever carries it.

1. The client's streams are offered by their roles; when all that the request names are there (and ``error``, always),
   the session begins.  A client that does not open them in time is sent away.
2. The command is started, or the container attached to.  What the client has typed meanwhile waits in its stream.
3. Output, input and sizes flow until the process has ended and its last words are out.
4. The error stream tells how it ended; then all streams are finished and the connection closes.

If the client goes away first, the process is hung up on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.errors import CriwistError
from criwist.interfaces.streaming import IRemoteProcess, RemoteCommand
from criwist.streaming.sessions.process_streams import ProcessInput, ProcessOutput, TerminalSize
from criwist.streaming.stream import Stream
from criwist.wire import remote_status
from criwist.wire.remote_status import RemoteStatus

#: Seconds that a client has to open its streams.
STREAM_WAIT: Final = 30.0

ERROR: Final = "error"
STDIN: Final = "stdin"
STDOUT: Final = "stdout"
STDERR: Final = "stderr"
RESIZE: Final = "resize"


@define(eq=False)
class RemoteCommandSession:
    """One session.

    :param start: ``IStreamingRuntime.exec`` or ``attach``.
    :param report: what the error stream says of an end, by the protocol's version.
    :param close: ends the connection.
    """

    _request: RemoteCommand
    _start: Callable[[RemoteCommand], Awaitable[IRemoteProcess]]
    _report: Callable[[RemoteStatus], bytes]
    _close: Callable[[], None]
    _clock: IReactorTime
    _streams: dict[str, Stream] = field(factory=dict, init=False)
    _size: TerminalSize = field(factory=TerminalSize, init=False)
    _patience: IDelayedCall = field(init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._patience = self._clock.callLater(STREAM_WAIT, self._lose_patience)

    @property
    def roles(self) -> frozenset[str]:
        """The streams without which the session does not begin."""
        request = self._request
        asked = ((STDIN, request.stdin), (STDOUT, request.stdout), (STDERR, request.stderr))
        return frozenset({ERROR} | {role for role, wanted in asked if wanted})

    def offer(self, role: str, stream: Stream) -> bool:
        """Take a stream, if one of this role is wanted and not there yet.  The last one begins the session."""
        wanted = role in self.roles or (role == RESIZE and self._request.tty)
        if not wanted or role in self._streams:
            return False
        self._streams[role] = stream
        if role == RESIZE:
            stream.connect(self._size)
        elif role != STDIN:
            stream.discard()
        if self._running is None and self._streams.keys() >= self.roles:
            self._patience.cancel()
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(self._broken)
        return True

    def lost(self) -> None:
        """The client is gone."""
        if self._patience.active():
            self._patience.cancel()
        if self._running is not None:
            self._running.cancel()

    def shut_down(self) -> None:
        """End the session: criwist stops."""
        self._stopping = True
        if self._running is None:
            self._close()
        else:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            status = await self._converse()
        except CriwistError as error:
            status = remote_status.failed(str(error))
        except CancelledError:
            if not self._stopping:
                raise
            status = remote_status.failed("criwist is stopping; the session was ended")
        except Exception as fault:  # noqa: BLE001 - whatever it is, the client waits for an end
            self._log.failure("a session with {container} failed", container=self._request.container_id)
            status = remote_status.failed(f"criwist failed: {fault!r}")
        self._finish(status)

    async def _converse(self) -> RemoteStatus:
        process = await self._start(self._request)
        output = ProcessOutput(
            process.stream.multiplexed, self._streams.get(STDOUT), self._streams.get(STDERR), self._clock
        )
        try:
            process.stream.start(output)
            if STDIN in self._streams:
                self._streams[STDIN].connect(ProcessInput(output.transport, process.half_closes))
            self._size.follow(process)
            exit_code = await process.ended(output.ended)
            await output.last_words()
        except CancelledError:
            await process.hang_up()
            raise
        finally:
            self._size.stop()
            process.stream.abort()
        return remote_status.SUCCESS if exit_code is None else remote_status.ended(exit_code)

    def _finish(self, status: RemoteStatus) -> None:
        error = self._streams[ERROR]
        for role, stream in self._streams.items():
            if role != ERROR:
                stream.loseConnection()
        error.write(self._report(status))
        error.loseConnection()
        self._close()

    def _lose_patience(self) -> None:
        missing = sorted(self.roles - self._streams.keys())
        self._log.warn(
            "a client of {container} did not open {missing} within {limit:g} s",
            container=self._request.container_id,
            missing=", ".join(missing),
            limit=STREAM_WAIT,
        )
        self._close()

    def _broken(self, failure: Failure) -> Any:
        """The client went away, or a fault of ours that nothing above foresaw."""
        if not failure.check(CancelledError):
            self._log.failure("a session with {container} broke", failure, container=self._request.container_id)
            self._close()
