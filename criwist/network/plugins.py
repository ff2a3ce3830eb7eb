"""Running CNI plugins without holding the reactor, and without trusting them.

A plugin gets a process group of its own, so that it can be ended with all its children, and its configuration as a
file on standard input, which it may read or not at its own pace.  Its output is read as it comes, up to a limit.

Twisted's ``spawnProcess`` can neither make a process group nor hand over a file, hence ``subprocess``; the end of the
process is Twisted's business again, by its SIGCHLD watch.

A call ends when the plugin's process does, even if a child that it left behind still holds the pipes open.  When
the time limit is over, or the output is too long, or the caller cancels, the whole group gets SIGKILL; the call then
ends when the process is gone, so that what follows, a DEL for instance, does not run beside it.
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

#: A result has some hundred bytes; what prints this much has lost its way.
OUTPUT_LIMIT = 256 * 1024
#: What is kept for the log of a plugin's standard error; the rest is read and dropped.
STDERR_LIMIT = 16 * 1024
#: Seconds that a killed process may take to be gone.  Longer takes only one that the kernel holds.
_END_LIMIT = 5.0
_CHUNK = 64 * 1024


class IPluginReactor(IReactorFDSet, IReactorTime):
    """What this module asks of a reactor."""


@frozen
class Output:
    """What a plugin's process left."""

    #: As a shell has it: the exit status, or minus the signal that ended it.
    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    #: Why we ended it, in words; ``""`` if it ended by itself.
    cut_short: str = ""


async def run_plugin(
    executable: str, environment: Mapping[str, str], stdin: bytes, time_limit: float, *, reactor: IPluginReactor
) -> Output:
    """Run a plugin to its end.  Cancelling kills it and waits until it is gone.

    :param environment: all of it.
    :param time_limit: seconds after which it is killed.
    :raises OSError: it cannot be started.
    """
    running = _Running.start(executable, environment, stdin, reactor)
    deadline = reactor.callLater(time_limit, running.cut_short, f"it did not finish within {time_limit:g} s")
    try:
        return await running.ended()
    except CancelledError:
        running.cut_short("the caller went away")
        await running.ended()
        raise
    finally:
        if deadline.active():
            deadline.cancel()


@define(eq=False)
class _Running:
    """A plugin's process, registered with Twisted's reaper."""

    _process: subprocess.Popen[bytes]
    _reactor: IPluginReactor
    _stdout: _Pipe
    _stderr: _Pipe
    _cut_short: str = field(default="", init=False)
    _output: Output | None = field(default=None, init=False)
    _waiting: list[Deferred[Output]] = field(factory=list, init=False)
    _giving_up: IDelayedCall | None = field(default=None, init=False)

    @classmethod
    def start(cls, executable: str, environment: Mapping[str, str], stdin: bytes, reactor: IPluginReactor) -> _Running:
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
        running = cls(process, reactor, stdout, stderr)
        running._stdout.overflow = lambda: running.cut_short(f"it printed more than {OUTPUT_LIMIT >> 10} KiB")
        registerReapProcessHandler(process.pid, running)
        return running

    def ended(self) -> Deferred[Output]:
        """Fires when the process is gone.  Cancelling stops waiting, no more."""
        waiter: Deferred[Output] = Deferred(lambda one: self._waiting.remove(one))
        if self._output is not None:
            waiter.callback(self._output)
        else:
            self._waiting.append(waiter)
        return waiter

    def cut_short(self, reason: str) -> None:
        """Kill the process and its group, for *reason*.  Nothing if it is gone, or being killed."""
        if self._output is not None or self._cut_short:
            return
        self._cut_short = reason
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._giving_up = self._reactor.callLater(_END_LIMIT, self._give_up)

    # -- called by Twisted's reaper

    def reapProcess(self) -> None:
        """SIGCHLD came: see whether it was for this one."""
        pid, status = os.waitpid(self._process.pid, os.WNOHANG)
        if pid:
            unregisterReapProcessHandler(pid, self)
            self.processEnded(status)

    def processEnded(self, status: int) -> None:
        """The process was waited for."""
        self._process.returncode = os.waitstatus_to_exitcode(status)  # or it would wait for the process itself
        self._finish(self._process.returncode)

    def _give_up(self) -> None:
        """The kernel does not let go of the killed process; it stays registered, but nobody waits any longer."""
        self._finish(-signal.SIGKILL)

    def _finish(self, status: int) -> None:
        if self._output is not None:
            return
        if self._giving_up is not None and self._giving_up.active():
            self._giving_up.cancel()
        stdout, stderr = self._stdout.finish(), self._stderr.finish()
        self._output = Output(status, stdout, stderr, self._cut_short)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(self._output)


@implementer(IReadDescriptor)
@define(eq=False)
class _Pipe:
    """The reading end of a pipe: keeps the first *limit* bytes, drops the rest and says so once."""

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
        """The reactor ends, or has seen a hang-up: all writers are gone."""
        self._read_rest()
        if self._descriptor >= 0:
            self._close()

    def finish(self) -> bytes:
        """Read what is there now, up to the limit, stop reading, and return all that was kept.  Repeatable."""
        self._read_rest()
        if self._descriptor >= 0:
            # We are called in the turn of another descriptor, and the same turn may bring an event for this one.  Were
            # it closed now, its number could have a new owner by then, who would get the event.
            self._reactor.removeReader(self)
            self._reactor.callLater(0, os.close, self._descriptor)
            self._descriptor = -1
        return bytes(self._content)

    def _read_rest(self) -> None:
        while self._read():
            if len(self._content) >= self._limit:
                return

    def _read(self) -> int | None:
        """How many bytes there were; 0: the end; None: none now."""
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
    """Pids of processes that were started as plugins, or by plugins, for one of these containers.

    They are told by their environment, which their children inherit.  After a crash of ours such a process may still
    be at work, beside the DEL that is to undo what it does.
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
