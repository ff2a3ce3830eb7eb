"""What the streaming server asks of the core: may it, and if so, here are the streams.

An exec has ended when the engine says so, not when its pipes close (see ``execs``).  An attached container's session
ends with its streams, which the engine closes when the container ends.

Going away.  Docker gives a process EOF when the client of its exec is gone, but keeps an exec's terminal open for
ever; so a process with a terminal is hung up on from here.  Closing our direction of an exec's stream is EOF for its
process.  Of a terminal's, or of an attached container's that is to keep its input, it is not: there the engine takes
it for the end of the whole session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import socket

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from criwist import errors
from criwist.core.exec.exec_exit import LOOK_PAUSE, exit_code, first_of
from criwist.core.state.cache import Cache
from criwist.core.state.entries import ContainerEntry
from criwist.core.state.event_feed import EventFeed
from criwist.interfaces.engine import IDocker, IHijackedStream
from criwist.interfaces.streaming import IRemoteProcess, IStreamingRuntime, RemoteCommand
from criwist.translate import field_rules

#: Keys on which the engine ends a session with a terminal.  Its own default begins with ctrl-p, which every shell
#: uses; a sequence that nobody types begins with a key that shows nothing, since the engine holds it back until the
#: next one.
DETACH_KEYS = ",".join(["ctrl-@"] * 16)
#: Looks at an exec that is being started.
_LOOKS = 250


@implementer(IStreamingRuntime)
@define(eq=False)
class StreamingRuntime:
    """The streams of containers, and the ports of sandboxes.

    :param connect: a connected socket to a port on the loopback of a process's network namespace.
    :param hang_up: sends SIGHUP to the session that a process leads, and to its terminal's foreground.
    """

    _docker: IDocker
    _cache: Cache
    _feed: EventFeed
    _connect: Callable[[int, int], Awaitable[socket]]
    _hang_up: Callable[[int], object]
    _clock: IReactorTime

    # -- Whether

    async def admit_exec(self, request: RemoteCommand) -> RemoteCommand:
        """The request with its container's full id."""
        field_rules.command(request.command)
        _check_streams(request)
        return evolve(request, container_id=(await self._running(request.container_id)).id)

    async def admit_attach(self, request: RemoteCommand) -> RemoteCommand:
        """The request with its container's full id."""
        _check_streams(request)
        entry = await self._running(request.container_id)
        if request.tty != entry.tty:
            raise errors.InvalidArgument("tty", f"must be {str(entry.tty).lower()}, as in the container's own config")
        return evolve(request, container_id=entry.id)

    async def admit_port_forward(self, sandbox_id: str) -> str:
        """The sandbox's full id."""
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

    # -- And how

    async def exec(self, request: RemoteCommand) -> IRemoteProcess:
        """Start the command."""
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
        process = _Exec(self._docker, self._clock, self._hang_up, exec_id, request.tty, self._feed.exec_ended(exec_id))
        try:
            process.stream = await self._docker.start_exec(exec_id, tty=request.tty)
        except CancelledError:
            await process.hang_up()
            raise
        except errors.CriwistError:
            process.forget()
            raise
        return process

    async def attach(self, request: RemoteCommand) -> IRemoteProcess:
        """Attach."""
        entry = self._cache.snapshot.container(request.container_id)
        stream = await self._docker.attach_container(
            entry.id, stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=entry.tty
        )
        return _Attached(self._docker, entry.id, stream, half_closes=entry.stdin_once and not entry.tty)

    async def connect_port(self, sandbox_id: str, port: int) -> socket:
        """Connect, in the sandbox's network namespace."""
        entry = self._cache.snapshot.sandbox(sandbox_id)
        if not entry.running:
            raise errors.FailedPrecondition(f"sandbox {entry.id} is not running")
        return await self._connect(entry.pid, port)


def _check_streams(request: RemoteCommand) -> None:
    field_rules.streams(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)


@implementer(IRemoteProcess)
@define(eq=False)
class _Exec:
    """An exec, from its creation on; the stream is there when it has been started."""

    _docker: IDocker
    _clock: IReactorTime
    _hang_up: Callable[[int], object]
    _exec_id: str
    _tty: bool
    #: Fires when the engine says that it ended, or may have.
    _told: Deferred[int | None]
    stream: IHijackedStream | None = field(default=None, init=False)
    _log = Logger()

    @property
    def half_closes(self) -> bool:
        """Not if it has a terminal."""
        return not self._tty

    def forget(self) -> None:
        """Wait for its end no longer."""
        self._told.addErrback(lambda failure: failure.trap(CancelledError))
        self._told.cancel()

    async def resize(self, *, height: int, width: int) -> None:
        """Resize; the engine answers "started" a moment before the terminal is there."""
        for _ in range(_LOOKS):
            try:
                await self._docker.resize_exec(self._exec_id, height=height, width=width)
            except (errors.NotFound, errors.FailedPrecondition, errors.EngineFailure):
                if (await self._docker.inspect_exec(self._exec_id)).get("ExitCode") is not None:
                    return
                await deferLater(self._clock, LOOK_PAUSE, lambda: None)
            else:
                return
        raise errors.EngineFailure(f"exec {self._exec_id} has no terminal to resize")

    async def ended(self, output_ended: Deferred[None]) -> int | None:
        """Wait for the end, look at the exit code."""
        try:
            return await exit_code(self._docker, self._clock, self._exec_id, self._told, output_ended)
        finally:
            self.forget()

    async def hang_up(self) -> None:
        """Drop the stream; hang up its terminal."""
        self.forget()
        if self.stream is not None:
            self.stream.abort()
        if not self._tty:
            return
        try:
            for _ in range(_LOOKS):
                inspected = await self._docker.inspect_exec(self._exec_id)
                if inspected.get("ExitCode") is not None:
                    return
                if inspected.get("Running") and inspected.get("Pid"):
                    self._hang_up(int(inspected["Pid"]))
                    return
                # Our request to start it is still on its way through the engine.
                await deferLater(self._clock, LOOK_PAUSE, lambda: None)
        except errors.CriwistError as error:
            self._log.warn("exec {exec} may be left without a client: {error}", exec=self._exec_id, error=str(error))


@implementer(IRemoteProcess)
@define(eq=False)
class _Attached:
    """A container that is attached to."""

    _docker: IDocker
    _container_id: str
    stream: IHijackedStream
    half_closes: bool

    async def resize(self, *, height: int, width: int) -> None:
        """Resize; a container that has ended has no terminal."""
        try:
            await self._docker.resize_container(self._container_id, height=height, width=width)
        except (errors.NotFound, errors.FailedPrecondition):
            return

    async def ended(self, output_ended: Deferred[None]) -> int | None:
        """Its streams' end is the session's.  How the container ended is told by its status, not to who watches.

        :raises Unavailable: the engine has ended, not the container.
        """
        await first_of(output_ended)
        with suppress(errors.NotFound):
            await self._docker.inspect_container(self._container_id)
        return None

    async def hang_up(self) -> None:
        """Detach."""
        self.stream.abort()
