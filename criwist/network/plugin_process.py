"""Processes of CNI plugins, run without blocking the reactor and without trusting the plugin.

A plugin gets a process group of its own, so that it can be killed with all its children.  It gets its configuration as
a file on standard input, which it may read at its own pace or not at all.  Its output is read as it comes, up to a
limit.

Twisted's ``spawnProcess`` can neither create a process group nor pass a file, hence ``subprocess``.  Twisted's SIGCHLD
reaper reaps the process.

A call ends when the plugin's process ends, even if a child that it left behind still holds the pipes open.  When the
time limit is over, the output is too long, or the caller cancels, the whole group gets SIGKILL.  The call then ends
when the process is gone, so that a following DEL, for instance, does not run beside it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.internet.process import registerReapProcessHandler, unregisterReapProcessHandler
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes.  A result has some hundred bytes; a plugin that prints this much is broken, and is killed.
OUTPUT_LIMIT = 256 * 1024
#: Bytes of a plugin's standard error that are kept for the log; the rest is read and dropped.
STDERR_LIMIT = 16 * 1024
#: Seconds that a killed process may take to end.  Only a process that blocks in the kernel takes longer.
_KILL_TIME_LIMIT = 5.0
_CHUNK = 64 * 1024


class IPluginReactor(IReactorFDSet, IReactorTime):
    """The reactor interfaces that this module needs."""


@frozen
class Output:
    """The exit status and the output of a plugin's process."""

    #: The exit status, or minus the number of the signal that ended it.
    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    #: Why criwist killed it, as a sentence; ``""`` if it ended by itself.
    kill_reason: str = ""


async def run_plugin(
    executable: str, environment: Mapping[str, str], stdin: bytes, time_limit: float, *, reactor: IPluginReactor
) -> Output:
    """Run a plugin until it ends.  Cancelling kills it and waits until it is gone.

    :param environment: the whole environment of the process.
    :param time_limit: seconds after which it is killed.
    :raises OSError: it cannot be started.
    """
    process = _PluginProcess.start(executable, environment, stdin, reactor)
    deadline = reactor.callLater(time_limit, process.kill, f"it did not finish within {time_limit:g} s")
    try:
        return await process.ended()
    except CancelledError:
        process.kill("the caller cancelled")
        await process.ended()
        raise
    finally:
        if deadline.active():
            deadline.cancel()


@define(eq=False)
class _PluginProcess:
    """A plugin's process, registered with Twisted's reaper."""

    _process: subprocess.Popen[bytes]
    _reactor: IPluginReactor
    _stdout: _Pipe
    _stderr: _Pipe
    _kill_reason: str = field(default="", init=False)
    _output: Output | None = field(default=None, init=False)
    _waiting: list[Deferred[Output]] = field(factory=list, init=False)
    _kill_deadline: IDelayedCall | None = field(default=None, init=False)

    @classmethod
    def start(
        cls, executable: str, environment: Mapping[str, str], stdin: bytes, reactor: IPluginReactor
    ) -> _PluginProcess:
        out_read, out_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        err_read, err_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with open(os.memfd_create("cni-configuration", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
                file.write(stdin)
                file.seek(0)
                os.set_blocking(out_write, True)
                os.set_blocking(err_write, True)
                process = subprocess.Popen(
                    [executable], env=environment, stdin=file, stdout=out_write, stderr=err_write, process_group=0
                )
        except BaseException:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        stdout, stderr = _Pipe(out_read, OUTPUT_LIMIT, reactor), _Pipe(err_read, STDERR_LIMIT, reactor)
        plugin = cls(process, reactor, stdout, stderr)
        plugin._stdout.overflow = lambda: plugin.kill(f"it printed more than {OUTPUT_LIMIT >> 10} KiB")
        registerReapProcessHandler(process.pid, plugin)
        return plugin

    def ended(self) -> Deferred[Output]:
        """Return a Deferred that fires when the process is gone.  Cancelling it only stops waiting."""
        waiter: Deferred[Output] = Deferred(lambda cancelled: self._waiting.remove(cancelled))
        if self._output is not None:
            waiter.callback(self._output)
        else:
            self._waiting.append(waiter)
        return waiter

    def kill(self, reason: str) -> None:
        """Kill the process and its group, for *reason*.  Does nothing if it is gone or was killed before."""
        if self._output is not None or self._kill_reason:
            return
        self._kill_reason = reason
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._kill_deadline = self._reactor.callLater(_KILL_TIME_LIMIT, self._stop_waiting)

    # -- called by Twisted's reaper

    def reapProcess(self) -> None:
        """Reap the process if the SIGCHLD was for it."""
        pid, status = os.waitpid(self._process.pid, os.WNOHANG)
        if pid:
            unregisterReapProcessHandler(pid, self)
            self.processEnded(status)

    def processEnded(self, status: int) -> None:
        # Without a returncode, Popen would wait for the process itself.
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._finish(self._process.returncode)

    def _stop_waiting(self) -> None:
        """Fire the callers: the killed process blocks in the kernel.  It stays registered with the reaper."""
        self._finish(-signal.SIGKILL)

    def _finish(self, status: int) -> None:
        if self._output is not None:
            return
        if self._kill_deadline is not None and self._kill_deadline.active():
            self._kill_deadline.cancel()
        stdout, stderr = self._stdout.finish(), self._stderr.finish()
        self._output = Output(status, stdout, stderr, self._kill_reason)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(self._output)


@implementer(IReadDescriptor)
@define(eq=False)
class _Pipe:
    """The reading end of a pipe: keeps the first *limit* bytes, drops the rest and calls *overflow* once."""

    _descriptor: int
    _limit: int
    _reactor: IPluginReactor
    overflow: Callable[[], None] | None = field(default=None, init=False)
    _content: bytearray = field(factory=bytearray, init=False)

    def __attrs_post_init__(self) -> None:
        self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "CNI plugin"

    def doRead(self) -> None:
        if self._read() == 0:
            self._close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or it found a hang-up: all writers are gone."""
        self._read_rest()
        if self._descriptor >= 0:
            self._close()

    def finish(self) -> bytes:
        """Read what the pipe holds now, up to the limit, stop reading, and return all kept bytes.  Idempotent."""
        self._read_rest()
        if self._descriptor >= 0:
            # The reactor calls this for the event of another descriptor, and the same poll may have returned an event
            # for this one.  If it were closed now, its number could belong to a new file, which would get the event.
            self._reactor.removeReader(self)
            self._reactor.callLater(0, os.close, self._descriptor)
            self._descriptor = -1
        return bytes(self._content)

    def _read_rest(self) -> None:
        while self._read():
            if len(self._content) >= self._limit:
                return

    def _read(self) -> int | None:
        """Read once; return the number of bytes, 0 at the end, None if there are none now."""
        if self._descriptor < 0:
            return None
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return None
        room = self._limit - len(self._content)
        self._content += chunk[:room]
        if len(chunk) > room and self.overflow is not None:
            overflow, self.overflow = self.overflow, None
            overflow()
        return len(chunk)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._descriptor = -1


def stray_plugins(container_ids: set[str], proc: str = "/proc") -> list[int]:
    """Return the pids of processes that were started as plugins, or by plugins, for one of these containers.

    The environment, which their children inherit, identifies them.  After a crash of criwist such a process may still
    run, beside the DEL that is to undo what it does.
    """
    wanted = {f"CNI_CONTAINERID={container_id}".encode() for container_id in container_ids}
    found = []
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        with suppress(OSError), open(f"{proc}/{name}/environ", "rb") as file:
            if not wanted.isdisjoint(file.read().split(b"\0")):
                found.append(int(name))
    return found
