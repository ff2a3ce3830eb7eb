"""Port-forward: independent connections of a client to ports of a pod.

Over SPDY a client opens two streams for each connection, ``error`` and ``data``, with the same ``requestid``; they may
arrive in either order, and this module pairs them.  Over WebSocket channels both exist from the beginning, one pair for
each port.  A ``ForwardedConnection`` then connects to the pod.  It reports an error on its error stream; the other
connections go on.
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

from criwist.streaming.sessions.forwarded_connection import ForwardedConnection, IForwardingReactor
from criwist.streaming.stream import Stream
from criwist.translate.field_rules import port_number

#: Seconds that the second stream of a pair may take after the first.
PAIR_WAIT: Final = 30.0

ERROR: Final = "error"
DATA: Final = "data"


@define(eq=False)
class _UnpairedStream:
    """A stream that waits for the other of its pair."""

    role: str
    port: int
    stream: Stream
    timeout: IDelayedCall


@define(eq=False)
class PortForwardSession:
    """All connections of one client.

    :param connect: returns a socket that is connected to a port of the pod.
    :param close: ends the client's connection.
    """

    _connect: Callable[[int], Awaitable[socket]]
    _reactor: IForwardingReactor
    _close: Callable[[], None]
    _unpaired: dict[str, _UnpairedStream] = field(factory=dict, init=False)
    _connections: set[Deferred[None]] = field(factory=set, init=False)
    _log = Logger()

    def accept_stream(self, stream: Stream, headers: Mapping[str, str]) -> bool:
        """Take a stream that a SPDY client opened, if its headers make sense."""
        role, port = headers.get("streamtype"), port_number(headers.get("port", ""))
        if role not in (ERROR, DATA) or port is None:
            return False
        # The oldest clients send no requestid, but open the data stream right after the error stream.
        fallback = stream.number if role == ERROR else stream.number - 2
        request_id = headers.get("requestid") or f"stream {fallback}"
        first = self._unpaired.pop(request_id, None)
        if first is None:
            timeout = self._reactor.callLater(PAIR_WAIT, self._pair_expired, request_id)
            self._unpaired[request_id] = _UnpairedStream(role, port, stream, timeout)
            return True
        if first.role == role or first.port != port:
            self._unpaired[request_id] = first
            return False
        first.timeout.cancel()
        data, error = (stream, first.stream) if role == DATA else (first.stream, stream)
        self.forward(port, data, error)
        return True

    def forward(self, port: int, data: Stream, error: Stream) -> Deferred[None]:
        """Start a connection; fires when it has ended."""
        running = Deferred.fromCoroutine(ForwardedConnection(port, data, error, self._connect, self._reactor).run())
        self._connections.add(running)
        return running.addBoth(self._ended, running)

    def connection_lost(self) -> None:
        """Drop every connection to the pod: the client's connection is lost."""
        for unpaired in self._unpaired.values():
            unpaired.timeout.cancel()
        self._unpaired.clear()
        for connection in list(self._connections):
            connection.cancel()

    def shut_down(self) -> None:
        """End the session, because criwist stops."""
        self._close()

    def _ended(self, result: Failure | None, running: Deferred[None]) -> None:
        self._connections.discard(running)
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("forwarding a port failed", result)

    def _pair_expired(self, request_id: str) -> None:
        first = self._unpaired.pop(request_id)
        self._log.warn(
            "a client did not open the second stream of request {request} within {limit:g} s",
            request=request_id,
            limit=PAIR_WAIT,
        )
        first.stream.abortConnection()
