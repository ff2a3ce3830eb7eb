"""ExecSync: run a command in a container, collect its output, kill it if it takes too long.

1. The exec is created and started attached; its output is collected as it arrives, up to a limit.
2. The exec has ended when the engine reports it (``exec_die``), not when its pipes close: a child left in the
   background may hold them open for ever.  Output that is already on its way gets a short moment to arrive.
3. If the time is up first, the process and all its descendants are killed *on the host* by pid, since the engine has
   no call for that, and the caller gets DEADLINE_EXCEEDED.  The same happens when the caller cancels: a probe that
   runs on without a caller is a leak.  Descendants that left the process's tree are found by a variable in their
   environment, which is added to the command's.
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
from criwist.core.exec.exec_exit import exit_code, first_of
from criwist.core.exec.exec_polling import ExecPoller
from criwist.core.state.cache import Cache
from criwist.core.state.event_feed import EventFeed
from criwist.interfaces.engine import IDocker, IHijackedStream
from criwist.interfaces.kernel import EXEC_MARKER, IProcesses
from criwist.wire.stdcopy import Demultiplexer, Stream

#: Bytes of output, stdout and stderr together, that one ExecSync may return.  The excess is cut from the longer of the
#: two.  A kubelet rejects messages over 16 MiB; the rest of the message needs a few bytes.
OUTPUT_LIMIT = 16 * 1024 * 1024 - 1024
#: Seconds that output may lag behind the end of its process.
OUTPUT_GRACE = 0.25
#: Seconds to wait for the pid of an exec that was cancelled while it was being started.
_STARTED_WITHIN = 5.0


@frozen
class ExecResult:
    """A command's exit code and output."""

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
        """Return stdout and stderr, together within the limit."""
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
        """Run *command* to its end; return its exit code and output.

        :param timeout: seconds; 0: no limit.
        :raises FailedPrecondition: the container does not run.
        :raises DeadlineExceeded: *timeout* passed.  The text says what became of the process and its descendants: they
            were killed, have ended, or may still run.
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
        poller = ExecPoller(self._docker, self._clock, exec_id)
        running = Deferred.fromCoroutine(self._run_started(poller, entry.id))
        expiry = self._clock.callLater(timeout, running.cancel) if timeout else None
        try:
            return await running
        except (CancelledError, errors.Cancelled):
            end = await self._kill(poller, entry.id)
            if expiry is not None and not expiry.active():
                raise errors.DeadlineExceeded(
                    f"command {list(command)!r} timed out after {timeout:g} s; {end}"
                ) from None
            raise
        finally:
            if expiry is not None and expiry.active():
                expiry.cancel()

    async def _run_started(self, poller: ExecPoller, container_id: str) -> ExecResult:
        end = self._feed.execs.watch(poller.exec_id, container_id)
        collector = _Collector()
        stream: IHijackedStream | None = None
        try:
            stream = await self._docker.start_exec(poller.exec_id, tty=False)
            stream.start(collector)
            code = await exit_code(poller, end, collector.ended)
            await self._drain(collector)
        finally:
            end.close()
            if stream is not None:
                stream.abort()
        return ExecResult(code, *collector.output())

    async def _drain(self, collector: _Collector) -> None:
        if not collector.ended.called:
            grace = deferLater(self._clock, OUTPUT_GRACE, lambda: None)
            await first_of(collector.ended, grace)
            grace.addErrback(lambda failure: failure.trap(CancelledError))
            grace.cancel()

    async def _kill(self, poller: ExecPoller, container_id: str) -> str:
        """Kill the exec's processes; return what was seen of it.  Never raises: the caller has a better error."""
        try:
            pid = await poller.live_pid(_STARTED_WITHIN)
            if pid:
                killed = await self._processes.kill_tree(pid, container_id)
                self._log.info(
                    "killed {count} processes of exec {exec} in {container}",
                    count=killed,
                    exec=poller.exec_id,
                    container=container_id,
                )
                return "it and its descendants were killed"
            if pid is not None:
                return "it has ended since"
            reason = f"the engine has not started it within {_STARTED_WITHIN:g} s more"
        except errors.CriwistError as error:
            reason = str(error)
        self._log.warn(
            "processes of exec {exec} in {container} may still run: {error}",
            exec=poller.exec_id,
            container=container_id,
            error=reason,
        )
        return f"it may still run: {reason}"
