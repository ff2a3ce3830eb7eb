"""The core behind the streaming server: it admits requests for streams, and opens the streams.

The end of a session.  An exec has ended when the engine reports it, not when its pipes close (see ``exec_exit``).  An
attached container's session ends with its streams, which the engine closes when the container ends.

The end of a client.  When the client of an exec disconnects, Docker closes the process's input, but it keeps an exec's
terminal open for ever; so criwist sends SIGHUP to a process with a terminal itself.

Half-close.  Closing our direction of an exec's stream is EOF for its process.  It is not for a terminal, nor for an
attached container whose input stays open: there the engine takes it for the end of the whole session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import socket

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from criwist import errors
from criwist.core.exec.exec_exit import exit_code, first_of
from criwist.core.exec.exec_polling import ExecPoller
from criwist.core.state.cache import Cache
from criwist.core.state.entries import ContainerEntry
from criwist.core.state.event_feed import EventFeed
from criwist.core.state.exec_ends import ExecEnd
from criwist.interfaces.engine import IDocker, IHijackedStream
from criwist.interfaces.streaming import IRemoteProcess, IStreamingRuntime, RemoteCommand
from criwist.translate import field_rules

#: Keys on which the engine ends a session with a terminal.  Its own default begins with ctrl-p, which every shell uses.
#: This sequence is one that nobody types.  Its first key prints nothing, since the engine holds it back until the next.
DETACH_KEYS = ",".join(["ctrl-@"] * 16)
#: Seconds to wait for the process, or the terminal, of an exec that is being started.
_STARTED_WITHIN = 5.0


@implementer(IStreamingRuntime)
@define(eq=False)
class StreamingRuntime:
    """The streams of containers, and the ports of sandboxes.

    :param connect: connects to a port on the loopback of the network namespace of the process with this pid,
        which belongs to this container.
    :param hang_up: sends SIGHUP to the session that a process leads, and to its terminal's foreground.
    """

    _docker: IDocker
    _cache: Cache
    _feed: EventFeed
    _clock: IReactorTime
    _connect: Callable[[int, str, int], Awaitable[socket]] = field(kw_only=True)
    _hang_up: Callable[[int, str], object] = field(kw_only=True)

    # -- Admission

    async def admit_exec(self, request: RemoteCommand) -> RemoteCommand:
        field_rules.command(request.command)
        _check_streams(request)
        return evolve(request, container_id=(await self._running(request.container_id)).id)

    async def admit_attach(self, request: RemoteCommand) -> RemoteCommand:
        _check_streams(request)
        entry = await self._running(request.container_id)
        if request.tty != entry.tty:
            raise errors.InvalidArgument("tty", f"must be {str(entry.tty).lower()}, as in the container's own config")
        return evolve(request, container_id=entry.id)

    async def admit_port_forward(self, sandbox_id: str) -> str:
        await self._cache.ready()
        entry = self._cache.snapshot.sandbox(sandbox_id)
        if not entry.running:
            raise errors.FailedPrecondition(f"sandbox {entry.id} is not running")
        return entry.id

    async def _running(self, container_id: str) -> ContainerEntry:
        await self._cache.ready()
        entry = self._cache.snapshot.container(container_id)
        if not entry.running:
            raise errors.FailedPrecondition(f"container {entry.id} is not running")
        return entry

    # -- Streams

    async def exec(self, request: RemoteCommand) -> IRemoteProcess:
        exec_id = await self._docker.create_exec(
            request.container_id,
            {
                "AttachStdin": request.stdin,
                "AttachStdout": request.stdout,
                "AttachStderr": request.stderr,
                "Tty": request.tty,
                "DetachKeys": DETACH_KEYS,
                "Cmd": list(request.command),
            },
        )
        poller = ExecPoller(self._docker, self._clock, exec_id)
        process = _Exec(
            self._docker,
            poller,
            lambda pid: self._hang_up(pid, request.container_id),
            request.tty,
            self._feed.execs.watch(exec_id, request.container_id),
        )
        try:
            process.stream = await self._docker.start_exec(exec_id, tty=request.tty)
        except CancelledError:
            await process.hang_up()
            raise
        except errors.CriwistError:
            process.end.close()
            raise
        return process

    async def attach(self, request: RemoteCommand) -> IRemoteProcess:
        entry = self._cache.snapshot.container(request.container_id)
        stream = await self._docker.attach_container(
            entry.id, stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=entry.tty
        )
        return _Attached(self._docker, entry.id, stream, half_closes=entry.stdin_once and not entry.tty)

    async def connect_port(self, sandbox_id: str, port: int) -> socket:
        entry = self._cache.snapshot.sandbox(sandbox_id)
        if not entry.running:
            raise errors.FailedPrecondition(f"sandbox {entry.id} is not running")
        return await self._connect(entry.pid, entry.id, port)


def _check_streams(request: RemoteCommand) -> None:
    field_rules.streams(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)


@implementer(IRemoteProcess)
@define(eq=False)
class _Exec:
    """An exec, from its creation on; ``stream`` is set when it has been started."""

    _docker: IDocker
    _poller: ExecPoller
    _hang_up: Callable[[int], object]
    _tty: bool
    end: ExecEnd
    stream: IHijackedStream | None = field(default=None, init=False)
    _log = Logger()

    @property
    def half_closes(self) -> bool:
        return not self._tty

    async def resize(self, *, height: int, width: int) -> None:
        """Resize the terminal, which the engine creates a moment after it has answered "started"."""

        async def attempt() -> bool | None:
            try:
                await self._docker.resize_exec(self._poller.exec_id, height=height, width=width)
            except (errors.NotFound, errors.FailedPrecondition, errors.EngineFailure):
                return None if await self._poller.exit_code() is None else True
            return True

        if not await self._poller.retry(attempt, _STARTED_WITHIN):
            raise errors.EngineFailure(f"exec {self._poller.exec_id} has no terminal to resize")

    async def ended(self, output_ended: Deferred[None]) -> int | None:
        try:
            return await exit_code(self._poller, self.end, output_ended)
        finally:
            self.end.close()

    async def hang_up(self) -> None:
        """Abort the stream.  SIGHUP the process if it has a terminal, also if the engine starts it only now."""
        self.end.close()
        if self.stream is not None:
            self.stream.abort()
        if not self._tty:
            return
        try:
            pid = await self._poller.live_pid(_STARTED_WITHIN)
            if pid:
                self._hang_up(pid)
        except errors.CriwistError as error:
            self._log.warn(
                "exec {exec} may run on without a client: {error}", exec=self._poller.exec_id, error=str(error)
            )


@implementer(IRemoteProcess)
@define(eq=False)
class _Attached:
    """A session attached to a container."""

    _docker: IDocker
    _container_id: str
    stream: IHijackedStream
    half_closes: bool

    async def resize(self, *, height: int, width: int) -> None:
        """Resize the terminal; no error if the container has ended, and its terminal with it."""
        try:
            await self._docker.resize_container(self._container_id, height=height, width=width)
        except (errors.NotFound, errors.FailedPrecondition):
            return

    async def ended(self, output_ended: Deferred[None]) -> int | None:
        """Wait for the end of the streams.  The container's exit code is in its status, not in the session's.

        :raises Unavailable: the streams ended because the engine did.
        """
        await first_of(output_ended)
        with suppress(errors.NotFound):
            await self._docker.inspect_container(self._container_id)
        return None

    async def hang_up(self) -> None:
        self.stream.abort()
