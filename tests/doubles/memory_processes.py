"""Scripted processes of containers and execs.

A :class:`Program` is the script of a command, a :class:`Process` one run of it.  The default program writes nothing
and runs until it is signalled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.wire.stdcopy import Stream, frame

_FATAL = {"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "ALRM": 14, "TERM": 15}


@frozen
class Program:
    """The script of a command."""

    #: The process exits with this code right after its output; None: it runs until it is signalled.
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    #: Signals that do not end it, without ``SIG``.
    ignores: frozenset[str] = frozenset()
    #: The process copies its input to its output, and exits with 0 at the end of the input.
    echoes: bool = False
    #: The runtime cannot start the program, and this is its error text.
    refusal: str = ""


@define(eq=False)
class Process:
    """One run of a program."""

    pid: int
    program: Program
    #: Called with each piece of output.
    on_output: Callable[[Stream, bytes], None]
    exit_code: int | None = None
    _on_exit: list[Callable[[int], None]] = field(factory=list, init=False)
    attached: list[AttachedClient] = field(factory=list, init=False)

    @property
    def running(self) -> bool:
        """Whether it has not exited."""
        return self.exit_code is None

    def when_ended(self, callback: Callable[[int], None]) -> None:
        """Call *callback* with the exit code when the process exits, or now if it has."""
        if self.exit_code is not None:
            callback(self.exit_code)
        else:
            self._on_exit.append(callback)

    def run(self) -> None:
        """Run the program's script."""
        self.say(Stream.STDOUT, self.program.stdout)
        self.say(Stream.STDERR, self.program.stderr)
        if self.program.exit_code is not None:
            self.end(self.program.exit_code)

    def say(self, stream: Stream, data: bytes) -> None:
        """Write output."""
        if data and self.running:
            self.on_output(stream, data)
            for client in list(self.attached):
                client.say(stream, data)

    def stdin(self, data: bytes) -> None:
        """Read input."""
        if self.program.echoes:
            self.say(Stream.STDOUT, data)

    def stdin_closed(self) -> None:
        """Read the end of the input."""
        if self.program.echoes:
            self.end(0)

    def signal(self, name: str) -> None:
        """Receive a signal, by name with or without ``SIG``, or by number."""
        name = name.upper().removeprefix("SIG")
        by_number = {str(number): text for text, number in _FATAL.items()}
        name = by_number.get(name, name)
        if name in _FATAL and (name == "KILL" or name not in self.program.ignores):
            self.end(128 + _FATAL[name])

    def end(self, exit_code: int) -> None:
        """Exit.  Idempotent."""
        if not self.running:
            return
        self.exit_code = exit_code
        for client in list(self.attached):
            client.close()
        callbacks, self._on_exit = self._on_exit, []
        for callback in callbacks:
            callback(exit_code)


@implementer(IHalfCloseableProtocol)
class AttachedClient(Protocol):
    """The engine's end of an attach or exec connection."""

    def __init__(self, process: Process, *, streams: frozenset[Stream], raw: bool) -> None:
        self._process = process
        self._streams = streams
        self._raw = raw

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        self._process.attached.append(self)

    def say(self, stream: Stream, data: bytes) -> None:
        """Send output: raw for a terminal, which has one stream, in frames otherwise."""
        if self._raw:
            self._transport.write(data)
        elif stream in self._streams:
            self._transport.write(frame(stream, data))

    def close(self) -> None:
        """Close the connection when the process has exited."""
        if self in self._process.attached:
            self._process.attached.remove(self)
        self._transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if Stream.STDIN in self._streams:
            self._process.stdin(data)

    def readConnectionLost(self) -> None:
        if Stream.STDIN in self._streams:
            self._process.stdin_closed()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Detach; the process runs on."""
        if self in self._process.attached:
            self._process.attached.remove(self)
