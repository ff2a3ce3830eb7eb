"""The body of one answer of the engine's log API: messages in, lines out, and no faster than they can be written.

The engine writes each message by itself, and in an answer of HTTP/1.1 in a chunk of its own, which Twisted delivers by
itself.  So nothing is read for a moment after each read, in which messages gather in the socket; and what was read is
gathered for a longer moment, since converting and writing a hundred costs little more than one.
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
from criwist.logs.reports import Reports
from criwist.wire.apilog import EngineErrorText, Messages, TerminalMessages
from criwist.wire.stdcopy import StdcopyError

#: Seconds until writing is tried again.
RETRY: Final = 1.0
#: Seconds between two reads.  A socket holds some two hundred messages, more than the engine sends in that time.
REST: Final = 0.001
#: Seconds that messages are gathered for, and bytes from which on they are not.
GATHER: Final = 0.02
MOST_GATHERED: Final = 128 << 10


class ApiResponse(Protocol):
    """One answer.  *take* gets the lines as they come; when it raises OSError nothing more comes until *write* works.

    ``done`` fires when the answer has ended and all is written, with whether there was anything in it; it fails with
    EngineErrorText or StdcopyError if it is no log, and with Unavailable if the connection broke.  Cancelling it, and
    :meth:`drop`, end the answer where it is.
    """

    def __init__(
        self,
        messages: Messages | TerminalMessages,
        take: Callable[[list[bytes]], None],
        write: Callable[[], None],
        reactor: Any,
        reports: Reports,
    ) -> None:
        self.done: Deferred[bool] = Deferred(self._cancelled)
        self._messages = messages
        self._take = take
        self._write = write
        self._reactor = reactor
        self._reports = reports
        self._gathered: list[bytes] = []
        self._size = 0
        #: What is yet to be done: convert what is gathered, try to write again, end.
        self._timers: dict[str, IDelayedCall] = {}
        self._received = False
        #: Whether anything has come since that was asked.
        self._heard = False
        self._stuck = False
        self._result: bool | Failure | None = None
        self._fired = False

    def dataReceived(self, data: bytes) -> None:
        """The next bytes."""
        if self._result is not None:
            return
        self._received = self._heard = True
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= MOST_GATHERED and not self._stuck:
            self._convert()
        elif len(self._gathered) == 1 and not self._stuck:
            self._later("convert", GATHER, self._convert)
        if "read" not in self._timers:
            self._read_later()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The answer is whole, or the connection broke.

        PotentialDataLoss marks an answer that nothing but the end of the connection ends: what seems to be the last
        line may have been cut off.
        """
        if self._result is not None:
            return
        if reason.check(ResponseDone):
            self._convert(whole=True)
            self._end(self._received)
        elif reason.check(PotentialDataLoss):
            self._convert()
            if self._result is None:
                # The engine's own words, if there are some behind the lines.
                self._convert()
            self._end(self._received)
        else:
            self._convert()
            self._end(Failure(Unavailable(f"Docker has ended the log it was sending: {reason.getErrorMessage()}")))

    def drop_when_silent(self, seconds: float) -> None:
        """Have it end when nothing has come for that time, if it has not ended by itself."""
        self._heard = False
        self._later("drop", seconds, lambda: self.drop_when_silent(seconds) if self._heard else self.drop())

    def drop(self) -> None:
        """Have it end here.  Idempotent."""
        if self._result is None:
            self._convert()
            self._end(self._received)
            self._disconnect()

    def _convert(self, *, whole: bool = False) -> None:
        """Give on the lines of what is gathered."""
        self._not_later("convert")
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._size = 0
        try:
            lines = self._messages.receive_data(data)
            if whole:
                lines += self._messages.end()
        except (EngineErrorText, StdcopyError):
            self._end(Failure())
            self._disconnect()
            return
        try:
            self._take(lines)
        except OSError as error:
            self._pause(error)

    def _read_later(self) -> None:
        self._stop_reading()
        self._later("read", REST, self._read_on)

    def _stop_reading(self) -> None:
        if self._result is None and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined] # a body's transport is a producer

    def _read_on(self) -> None:
        if not self._stuck and self._result is None and self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined] # see above

    def _pause(self, error: OSError) -> None:
        self._reports.stuck(error)
        if not self._stuck:
            self._stop_reading()
        self._stuck = True
        self._later("write", RETRY, self._again)

    def _again(self) -> None:
        try:
            self._write()
        except OSError as error:
            self._pause(error)
            return
        self._reports.unstuck()
        self._stuck = False
        self._convert()
        if self._stuck:
            return
        if self._result is not None:
            self._fire(self._result)
        else:
            self._read_on()

    def _end(self, result: bool | Failure) -> None:
        if self._result is None:
            self._result = result
            if not self._stuck:
                self._fire(result)

    def _fire(self, result: bool | Failure) -> None:
        if not self._fired:
            self._fired = True
            self._not_later(*self._timers)
            self.done.callback(result)

    def _cancelled(self, done: Deferred[bool]) -> None:
        self._fired = True
        self._result = False
        self._not_later(*self._timers)
        self._disconnect()

    def _disconnect(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        def due() -> None:
            del self._timers[name]
            call()

        self._not_later(name)
        self._timers[name] = self._reactor.callLater(seconds, due)

    def _not_later(self, *names: str) -> None:
        for name in names:
            timer = self._timers.pop(name, None)
            if timer is not None:
                timer.cancel()
