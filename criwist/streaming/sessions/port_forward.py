"""Port-forward: connections of a client to ports of a pod, each for itself.

Over SPDY a client opens two streams for each connection, ``error`` and ``data``, with the same ``requestid``; they may
arrive in either order and are paired here.  Over WebSocket channels the two are there from the beginning, one pair for
each port.  A ``Forward`` then connects to the pod; what goes wrong is told on the error stream and concerns this
connection alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from socket import socket
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.streaming.sessions.forwarded_connection import Forward, IForwardingReactor
from criwist.streaming.stream import Stream
from criwist.translate.field_rules import port_number

#: Seconds that the second stream of a pair may take after the first.
PAIR_WAIT: Final = 30.0

ERROR: Final = "error"
DATA: Final = "data"


@define(eq=False)
class _Half:
    """A stream that waits for the other of its pair."""

    role: str
    port: int
    stream: Stream
    patience: IDelayedCall


@define(eq=False)
class PortForwardSession:
    """All connections of one client.

    :param connect: gives a socket that is connected to a port of the pod.
    :param close: ends the client's connection.
    """

    _connect: Callable[[int], Awaitable[socket]]
    _reactor: IForwardingReactor
    _close: Callable[[], None]
    _halves: dict[str, _Half] = field(factory=dict, init=False)
    _forwards: set[Deferred[None]] = field(factory=set, init=False)
    _log = Logger()

    def offer(self, stream: Stream, headers: Mapping[str, str]) -> bool:
        """Take a stream that a SPDY client opened, if its headers make sense."""
        role, port = headers.get("streamtype"), port_number(headers.get("port", ""))
        if role not in (ERROR, DATA) or port is None:
            return False
        # The oldest clients send no requestid, but open the data stream right after the error stream.
        fallback = stream.number if role == ERROR else stream.number - 2
        request = headers.get("requestid") or f"stream {fallback}"
        half = self._halves.pop(request, None)
        if half is None:
            patience = self._reactor.callLater(PAIR_WAIT, self._lose_patience, request)
            self._halves[request] = _Half(role, port, stream, patience)
            return True
        if half.role == role or half.port != port:
            self._halves[request] = half
            return False
        half.patience.cancel()
        data, error = (stream, half.stream) if role == DATA else (half.stream, stream)
        self.forward(port, data, error)
        return True

    def forward(self, port: int, data: Stream, error: Stream) -> Deferred[None]:
        """Begin a connection; fires when it is over."""
        running = Deferred.fromCoroutine(Forward(port, data, error, self._connect, self._reactor).run())
        self._forwards.add(running)
        return running.addBoth(self._over, running)

    def lost(self) -> None:
        """The client is gone."""
        for half in self._halves.values():
            half.patience.cancel()
        self._halves.clear()
        for forward in list(self._forwards):
            forward.cancel()

    def shut_down(self) -> None:
        """End the session: criwist stops."""
        self._close()

    def _over(self, result: Failure | None, running: Deferred[None]) -> None:
        self._forwards.discard(running)
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("forwarding a port failed", result)

    def _lose_patience(self, request: str) -> None:
        half = self._halves.pop(request)
        self._log.warn(
            "a client did not open the second stream of {request} within {limit:g} s", request=request, limit=PAIR_WAIT
        )
        half.stream.abortConnection()
