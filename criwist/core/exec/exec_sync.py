"""ExecSync: run a command in a container, collect what it says, kill it if it takes too long.

1. The exec is created and started attached; its output is collected as it comes, up to a limit.
2. It has ended when the engine says so (``exec_die``) - not when its pipes close: a child left in the background
   may hold them open for ever.  Output that is already on its way gets a short moment to arrive.
3. When the time is up first, the process and all its descendants are killed *on the host* by pid, since the
   engine has no call for that, and the caller gets DEADLINE_EXCEEDED.  The same happens when the caller
   goes away: a probe nobody waits for is a leak.  Descendants that left the process are told by a variable in
   their environment, which the command gets besides its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist import errors
from criwist.core.exec.exec_exit import LOOK_PAUSE, exit_code, first_of
from criwist.core.state.cache import Cache
from criwist.core.state.event_feed import EventFeed
from criwist.interfaces.engine import IDocker, IHijackedStream
from criwist.interfaces.kernel import IProcesses
from criwist.kernel.process_tree import EXEC_MARKER
from criwist.wire.stdcopy import Demultiplexer, Stream

#: Bytes of output, stdout and stderr together, that one ExecSync may bring back; what exceeds them is dropped, so
#: that what is said least keeps its part.  A kubelet refuses messages over 16 MiB; the rest needs a few bytes.
OUTPUT_LIMIT = 16 * 1024 * 1024 - 1024
#: Seconds that output may lag behind the end of its process.
LAST_WORDS = 0.25
#: Looks at an exec that was cancelled while it was being started.
_STARTING_LOOKS = 25


@frozen
class ExecResult:
    """How a command ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class _Collector(Protocol):
    """Collects an exec's output within the limit.  ``ended`` fires at the end of the stream."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._chunks: dict[Stream, list[bytes]] = {Stream.STDOUT: [], Stream.STDERR: []}
        self._room = dict.fromkeys(self._chunks, OUTPUT_LIMIT)
        self._demultiplexer = Demultiplexer()

    def dataReceived(self, data: bytes) -> None:
        for chunk in self._demultiplexer.receive_data(data):
            room = self._room.get(chunk.stream, 0)
            if room:
                kept = bytes(chunk.data[:room])
                self._room[chunk.stream] -= len(kept)
                self._chunks[chunk.stream].append(kept)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def output(self) -> tuple[bytes, bytes]:
        """What was said on stdout and on stderr, within the limit together."""
        out, err = (b"".join(chunks) for chunks in self._chunks.values())
        half = OUTPUT_LIMIT // 2
        room_for_out = max(half, OUTPUT_LIMIT - len(err))
        room_for_err = max(half, OUTPUT_LIMIT - len(out))
        return out[:room_for_out], err[: min(room_for_err, OUTPUT_LIMIT - len(out[:room_for_out]))]


@define(eq=False)
class ExecSync:
    """Runs commands in containers."""

    _docker: IDocker
    _cache: Cache
    _feed: EventFeed
    _processes: IProcesses
    _clock: IReactorTime
    _log = Logger()

    async def run(self, container_id: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run *command* to its end.

        :param timeout: seconds; 0: no limit of ours.
        :raises FailedPrecondition: the container does not run.
        :raises DeadlineExceeded: *timeout* passed; the process and its descendants were killed.
        """
        entry = self._cache.snapshot.container(container_id)
        if not entry.running:
            raise errors.FailedPrecondition(f"container {entry.id} is not running")
        exec_id = await self._docker.create_exec(
            entry.id,
            {
                "AttachStdout": True,
                "AttachStderr": True,
                "Tty": False,
                "Cmd": list(command),
                "Env": [f"{EXEC_MARKER}={token_hex(16)}"],
            },
        )
        working = Deferred.fromCoroutine(self._work(exec_id))
        expiry = self._clock.callLater(timeout, working.cancel) if timeout else None
        try:
            return await working
        except (CancelledError, errors.Cancelled):
            await self._kill(exec_id, entry.id)
            if expiry is not None and not expiry.active():
                raise errors.DeadlineExceeded(
                    f"command {list(command)!r} timed out after {timeout:g} s; it and its descendants were killed"
                ) from None
            raise
        finally:
            if expiry is not None and expiry.active():
                expiry.cancel()

    async def _work(self, exec_id: str) -> ExecResult:
        ended = self._feed.exec_ended(exec_id)
        collector = _Collector()
        stream: IHijackedStream | None = None
        try:
            stream = await self._docker.start_exec(exec_id, tty=False)
            stream.start(collector)
            code = await exit_code(self._docker, self._clock, exec_id, ended, collector.ended)
            await self._last_words(collector)
        finally:
            ended.addErrback(lambda failure: failure.trap(CancelledError))
            ended.cancel()
            if stream is not None:
                stream.abort()
        return ExecResult(code, *collector.output())

    async def _last_words(self, collector: _Collector) -> None:
        if not collector.ended.called:
            moment = deferLater(self._clock, LAST_WORDS, lambda: None)
            await first_of(collector.ended, moment)
            moment.addErrback(lambda failure: failure.trap(CancelledError))
            moment.cancel()

    async def _kill(self, exec_id: str, container_id: str) -> None:
        """Kill what the exec started; never raises, since the caller has a better error to tell."""
        try:
            inspected = await self._docker.inspect_exec(exec_id)
            for _ in range(_STARTING_LOOKS):
                if inspected.get("Running") or inspected.get("ExitCode") is not None:
                    break
                # Neither running nor ended: our start request may still be on its way through the engine.
                await deferLater(self._clock, LOOK_PAUSE, lambda: None)
                inspected = await self._docker.inspect_exec(exec_id)
            pid = int(inspected.get("Pid") or 0)
            if pid > 0 and inspected.get("Running"):
                killed = await self._processes.kill_tree(pid, container_id)
                self._log.info(
                    "killed {count} processes of exec {exec} in {container}",
                    count=killed,
                    exec=exec_id,
                    container=container_id,
                )
        except errors.CriwistError as error:
            self._log.warn(
                "processes of exec {exec} in {container} may be left: {error}",
                exec=exec_id,
                container=container_id,
                error=str(error),
            )
