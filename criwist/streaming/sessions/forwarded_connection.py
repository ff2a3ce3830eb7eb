"""One forwarded connection: a client's pair of streams on one side, a pod's port on the other.

Both directions are copied, each ends for itself, and each side pauses the other.  When the pod has closed its
direction, no error can come any more, so the error stream ends too: kubectl closes its user's connection only then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from socket import socket
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorSocket, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.errors import CriwistError, Unavailable
from criwist.streaming.direct_writer import DirectWriter
from criwist.streaming.socket_options import set_socket_options
from criwist.streaming.stream import IChunksReceived, Stream

#: Seconds that a client may stay silent without closing its direction, after the pod has closed its own.  Clients close
#: at once; one that never does would keep a descriptor for each connection that it ever had.
HALF_OPEN_WAIT: Final = 60.0


class IForwardingReactor(IReactorSocket, IReactorTime):
    """The reactor's interfaces that this module uses."""


@implementer(IHalfCloseableProtocol)
class _PodToClient(Protocol):
    """The connection to the pod: it writes the pod's bytes to the client's stream.

    :param pod_closed: called when the pod has closed its direction.
    """

    def __init__(self, data: Stream, pod_closed: Callable[[], None]) -> None:
        #: Fires when the connection is lost.
        self.lost: Deferred[None] = Deferred()
        #: The pod has closed its direction; the connection did not break before.
        self.complete = False
        self._data = data
        self._pod_closed = pod_closed

    def abort(self) -> None:
        """Drop the connection."""
        transport: Any = self.transport
        transport.abortConnection()

    def close(self) -> None:
        """Close the connection when everything is sent."""
        transport: Any = self.transport
        transport.loseConnection()

    def connectionMade(self) -> None:
        set_socket_options(self.transport)
        self._data.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self._data.write(data)

    def readConnectionLost(self) -> None:
        self.complete = True
        self._data.unregisterProducer()
        self._data.loseWriteConnection()
        self._pod_closed()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.complete |= reason.check(ConnectionDone) is not None
        self.lost.callback(None)


@implementer(IHalfCloseableProtocol, IChunksReceived)
class _ClientToPod(Protocol):
    """The client's data stream: it writes the client's bytes to the pod."""

    def __init__(self, pod: _PodToClient) -> None:
        self._pod = pod
        self._transport: Any = pod.transport
        #: The client has sent data since this was last set to False.
        self.active = False

    def connectionMade(self) -> None:
        stream: Any = self.transport
        self._writer = DirectWriter(self._transport, stream.pauseProducing, stream.resumeProducing)

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        self.active = True
        self._writer.send(chunks)

    def readConnectionLost(self) -> None:
        if self._writer.close():
            self._transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the pod's connection, or abort it if the client has reset the stream."""
        self._writer.close()
        if reason.check(ConnectionDone):
            self._pod.close()
        else:
            self._pod.abort()


@define(eq=False)
class ForwardedConnection:
    """One connection.

    :param connect: returns a socket that is connected to a port of the pod.
    """

    _port: int
    _data: Stream
    _error: Stream
    _connect: Callable[[int], Awaitable[socket]]
    _reactor: IForwardingReactor
    _half_open_timeout: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    async def run(self) -> None:
        """Copy until both directions are closed.  Cancelling drops the connection."""
        self._error.discard()
        try:
            await self._copy()
        except CriwistError as error:
            self._log.info("port {port} was not forwarded: {error}", port=self._port, error=str(error))
            self._error.write(f"error forwarding port {self._port} to the pod: {error}".encode())
        finally:
            if self._half_open_timeout is not None and self._half_open_timeout.active():
                self._half_open_timeout.cancel()
            # The error stream first: a client reads it right after the end of the data.
            self._error.loseConnection()
            self._data.loseConnection()

    async def _copy(self) -> None:
        pod = _PodToClient(self._data, lambda: self._pod_closed(client))
        with closing(await self._connect(self._port)) as connected:
            factory: Any = Factory.forProtocol(lambda: pod)
            self._reactor.adoptStreamConnection(connected.fileno(), connected.family, factory)
        client = _ClientToPod(pod)
        self._data.connect(client)
        try:
            await pod.lost
        except CancelledError:
            pod.abort()
            raise
        if not pod.complete and not self._data.closed:
            raise Unavailable("the pod's end of the connection broke")

    def _pod_closed(self, client: _ClientToPod) -> None:
        """Limit the wait for the client to close its direction."""
        self._error.loseConnection()
        client.active = False
        self._half_open_timeout = self._reactor.callLater(HALF_OPEN_WAIT, self._half_open_expired, client)

    def _half_open_expired(self, client: _ClientToPod) -> None:
        if client.active:
            client.active = False
            self._half_open_timeout = self._reactor.callLater(HALF_OPEN_WAIT, self._half_open_expired, client)
        else:
            self._data.loseConnection()
