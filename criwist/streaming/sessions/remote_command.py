"""Exec and attach: the session, over any carrier.

1. The carrier passes the client's streams, each with its role.  When every stream that the request names is open (and
   always ``error``), the session starts.  A client that does not open them in time is disconnected.
2. The runtime starts the command, or attaches to the container.  Input that the client sends meanwhile waits in its
   stream.
3. Output, input and terminal sizes flow until the process has ended and its output is drained.
4. The error stream carries the status; then all streams are finished and the connection closes.

If the client disconnects first, the session calls ``IRemoteProcess.hang_up``.
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
    :param encode: encodes the status for the error stream, as the protocol's version demands.
    :param close: closes the client's connection.
    """

    _request: RemoteCommand
    _start: Callable[[RemoteCommand], Awaitable[IRemoteProcess]]
    _encode: Callable[[RemoteStatus], bytes]
    _close: Callable[[], None]
    _clock: IReactorTime
    _streams: dict[str, Stream] = field(factory=dict, init=False)
    _terminal_size: TerminalSize = field(factory=TerminalSize, init=False)
    _stream_timeout: IDelayedCall = field(init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._stream_timeout = self._clock.callLater(STREAM_WAIT, self._streams_expired)

    @property
    def roles(self) -> frozenset[str]:
        """Return the roles of the streams that the session waits for."""
        request = self._request
        requested = ((STDIN, request.stdin), (STDOUT, request.stdout), (STDERR, request.stderr))
        return frozenset({ERROR} | {role for role, wanted in requested if wanted})

    def accept_stream(self, role: str, stream: Stream) -> bool:
        """Take a stream, if its role is wanted and has no stream yet.  The last wanted stream starts the session.

        :return: whether the stream was taken.
        """
        wanted = role in self.roles or (role == RESIZE and self._request.tty)
        if not wanted or role in self._streams:
            return False
        self._streams[role] = stream
        if role == RESIZE:
            stream.connect(self._terminal_size)
        elif role != STDIN:
            stream.discard()
        if self._running is None and self._streams.keys() >= self.roles:
            self._stream_timeout.cancel()
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addErrback(self._run_failed)
        return True

    def connection_lost(self) -> None:
        """Stop: the client's connection is lost."""
        if self._stream_timeout.active():
            self._stream_timeout.cancel()
        if self._running is not None:
            self._running.cancel()

    def shut_down(self) -> None:
        """End the session, because criwist stops."""
        self._stopping = True
        if self._running is None:
            self._close()
        else:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            status = await self._run_process()
        except CriwistError as error:
            status = remote_status.failed(str(error))
        except CancelledError:
            if not self._stopping:
                raise
            status = remote_status.failed("criwist is stopping; the session was ended")
        except Exception as error:  # noqa: BLE001 - the client waits for a status in any case
            self._log.failure("a session with {container} failed", container=self._request.container_id)
            status = remote_status.failed(f"criwist failed: {error!r}")
        self._finish(status)

    async def _run_process(self) -> RemoteStatus:
        process = await self._start(self._request)
        output = ProcessOutput(
            process.stream.multiplexed, self._streams.get(STDOUT), self._streams.get(STDERR), self._clock
        )
        try:
            process.stream.start(output)
            if STDIN in self._streams:
                self._streams[STDIN].connect(ProcessInput(output.transport, process.half_closes))
            self._terminal_size.set_process(process)
            exit_code = await process.ended(output.ended)
            await output.drain()
        except CancelledError:
            await process.hang_up()
            raise
        finally:
            self._terminal_size.stop()
            process.stream.abort()
        return remote_status.SUCCESS if exit_code is None else remote_status.ended(exit_code)

    def _finish(self, status: RemoteStatus) -> None:
        error = self._streams[ERROR]
        for role, stream in self._streams.items():
            if role != ERROR:
                stream.loseConnection()
        error.write(self._encode(status))
        error.loseConnection()
        self._close()

    def _streams_expired(self) -> None:
        missing = sorted(self.roles - self._streams.keys())
        self._log.warn(
            "a client of {container} did not open {missing} within {limit:g} s",
            container=self._request.container_id,
            missing=", ".join(missing),
            limit=STREAM_WAIT,
        )
        self._close()

    def _run_failed(self, failure: Failure) -> Any:
        """Close the connection after an unexpected error; a cancelled run needs nothing."""
        if not failure.check(CancelledError):
            self._log.failure(
                "a session with {container} failed unexpectedly", failure, container=self._request.container_id
            )
            self._close()
