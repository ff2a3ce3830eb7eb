"""The body of one response of the engine's log API: messages in, lines out, no faster than they can be written.

The engine writes each message separately, and with HTTP/1.1 in a chunk of its own, which Twisted delivers separately.
So reading pauses for a moment after each read, while messages gather in the socket.  The data that was read is buffered
for a longer moment, because converting and writing a hundred messages costs little more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from criwist.errors import Unavailable
from criwist.logs.problem_reports import ProblemReports
from criwist.wire.apilog import EngineErrorText, Messages, TerminalMessages
from criwist.wire.stdcopy import StdcopyError

#: Seconds until a failed write is retried.
RETRY_INTERVAL: Final = 1.0
#: Seconds between two reads.  A socket holds some two hundred messages, more than the engine sends in that time.
READ_INTERVAL: Final = 0.001
#: Seconds for which data is buffered, and bytes from which on it is not.
FLUSH_INTERVAL: Final = 0.02
FLUSH_SIZE: Final = 128 << 10


class ApiResponse(Protocol):
    """Receives one response.

    *write_lines* gets the lines as they come.  If it raises OSError, reading stops until *write_pending* succeeds.

    ``done`` fires when the response has ended and all its lines are written, with whether it had any content.  It fails
    with EngineErrorText or StdcopyError if the response is no log, and with Unavailable if the connection broke.
    Cancelling it, and :meth:`drop`, end the response early.
    """

    def __init__(
        self,
        messages: Messages | TerminalMessages,
        write_lines: Callable[[list[bytes]], None],
        write_pending: Callable[[], None],
        reactor: Any,
        problems: ProblemReports,
    ) -> None:
        self.done: Deferred[bool] = Deferred(self._cancelled)
        self._messages = messages
        self._write_lines = write_lines
        self._write_pending = write_pending
        self._reactor = reactor
        self._problems = problems
        self._buffer: list[bytes] = []
        self._buffered = 0
        #: Pending calls: resume reading, flush the buffer, retry a write, drop an idle response.
        self._timers: dict[str, IDelayedCall] = {}
        self._has_content = False
        #: Whether data has come since the last check for idleness.
        self._is_active = False
        #: Lines cannot be written for now.
        self._is_blocked = False
        #: How the response ended.
        self._result: bool | Failure | None = None
        self._is_fired = False

    def dataReceived(self, data: bytes) -> None:
        if self._result is not None:
            return
        self._has_content = self._is_active = True
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= FLUSH_SIZE and not self._is_blocked:
            self._flush()
        elif len(self._buffer) == 1 and not self._is_blocked:
            self._schedule("flush", FLUSH_INTERVAL, self._flush)
        if "read" not in self._timers:
            self._pause_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the response: it is complete, or the connection broke.

        PotentialDataLoss marks a response that only the end of the connection ends: its last line may be cut off.
        """
        if self._result is not None:
            return
        if reason.check(ResponseDone):
            self._flush(complete=True)
            self._end(self._has_content)
        elif reason.check(PotentialDataLoss):
            self._flush()
            if self._result is None:
                # An error text of the engine after the lines is raised by a second call.
                self._flush()
            self._end(self._has_content)
        else:
            self._flush()
            self._end(Failure(Unavailable(f"Docker closed the connection of a log: {reason.getErrorMessage()}")))

    def drop_when_idle(self, seconds: float) -> None:
        """End the response when no data has come for that time, unless it ends by itself."""
        self._is_active = False
        self._schedule("drop", seconds, lambda: self.drop_when_idle(seconds) if self._is_active else self.drop())

    def drop(self) -> None:
        """End the response here.  Idempotent."""
        if self._result is None:
            self._flush()
            self._end(self._has_content)
            self._disconnect()

    def _flush(self, *, complete: bool = False) -> None:
        """Convert the buffer and write its lines."""
        self._cancel_timers("flush")
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        try:
            lines = self._messages.receive_data(data)
            if complete:
                lines += self._messages.end()
        except (EngineErrorText, StdcopyError):
            self._end(Failure())
            self._disconnect()
            return
        try:
            self._write_lines(lines)
        except OSError as error:
            self._block(error)

    def _pause_reading(self) -> None:
        self._stop_reading()
        self._schedule("read", READ_INTERVAL, self._resume_reading)

    def _stop_reading(self) -> None:
        if self._result is None and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined] # a body's transport is a producer

    def _resume_reading(self) -> None:
        if not self._is_blocked and self._result is None and self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined] # see above

    def _block(self, error: OSError) -> None:
        self._problems.blocked(error)
        if not self._is_blocked:
            self._stop_reading()
        self._is_blocked = True
        self._schedule("write", RETRY_INTERVAL, self._retry_write)

    def _retry_write(self) -> None:
        try:
            self._write_pending()
        except OSError as error:
            self._block(error)
            return
        self._problems.unblocked()
        self._is_blocked = False
        self._flush()
        if self._is_blocked:
            return
        if self._result is not None:
            self._fire(self._result)
        else:
            self._resume_reading()

    def _end(self, result: bool | Failure) -> None:
        if self._result is None:
            self._result = result
            if not self._is_blocked:
                self._fire(result)

    def _fire(self, result: bool | Failure) -> None:
        if not self._is_fired:
            self._is_fired = True
            self._cancel_timers(*self._timers)
            self.done.callback(result)

    def _cancelled(self, done: Deferred[bool]) -> None:
        self._is_fired = True
        self._result = False
        self._cancel_timers(*self._timers)
        self._disconnect()

    def _disconnect(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _schedule(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call *call* later, in place of a pending call of that name."""

        def due() -> None:
            del self._timers[name]
            call()

        self._cancel_timers(name)
        self._timers[name] = self._reactor.callLater(seconds, due)

    def _cancel_timers(self, *names: str) -> None:
        for name in names:
            timer = self._timers.pop(name, None)
            if timer is not None:
                timer.cancel()
