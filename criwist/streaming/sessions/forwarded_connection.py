"""One forwarded connection: a client's pair of streams on one side, a pod's port on the other.

Both directions are copied, each ends for itself, and each side is paused by the other.  When the pod has said all
that it has to, no error can come any more and the error stream ends too: kubectl closes its user's connection only
when it knows that.
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
from criwist.streaming.linger import prepare
from criwist.streaming.stream import IChunksReceived, Stream

#: Seconds of silence that a client may take to finish its direction after the pod has finished its own.  Clients
#: finish at once; one that never does would keep a descriptor for each connection that it ever had.
HALF_OPEN_WAIT: Final = 60.0


class IForwardingReactor(IReactorSocket, IReactorTime):
    """What this module asks of a reactor."""


@implementer(IHalfCloseableProtocol)
class _ToClient(Protocol):
    """The pod's end: what the pod sends goes to the client's stream.

    :param said_all: called when the pod has said all that it has to.
    """

    def __init__(self, data: Stream, said_all: Callable[[], None]) -> None:
        #: Fires when the connection is gone.
        self.lost: Deferred[None] = Deferred()
        #: Whether the pod had said all before.
        self.whole = False
        self._data = data
        self._said_all = said_all

    def abort(self) -> None:
        """Drop the connection."""
        transport: Any = self.transport
        transport.abortConnection()

    def close(self) -> None:
        """Close the connection when all is sent."""
        transport: Any = self.transport
        transport.loseConnection()

    def connectionMade(self) -> None:
        prepare(self.transport)
        self._data.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self._data.write(data)

    def readConnectionLost(self) -> None:
        self.whole = True
        self._data.unregisterProducer()
        self._data.loseWriteConnection()
        self._said_all()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.whole |= reason.check(ConnectionDone) is not None
        self.lost.callback(None)


@implementer(IHalfCloseableProtocol, IChunksReceived)
class _ToPod(Protocol):
    """The client's end: what the client sends goes to the pod."""

    def __init__(self, pod: _ToClient) -> None:
        self._pod = pod
        self._transport: Any = pod.transport
        #: Whether the client has sent anything since this was last set to False.
        self.heard = False

    def connectionMade(self) -> None:
        stream: Any = self.transport
        self._outlet = DirectWriter(self._transport, stream.pauseProducing, stream.resumeProducing)

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        self.heard = True
        self._outlet.send(chunks)

    def readConnectionLost(self) -> None:
        if self._outlet.close():
            self._transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Both directions are closed, or the client has reset the stream."""
        self._outlet.close()
        if reason.check(ConnectionDone):
            self._pod.close()
        else:
            self._pod.abort()


@define(eq=False)
class Forward:
    """One connection.

    :param connect: gives a socket that is connected to a port of the pod.
    """

    _port: int
    _data: Stream
    _error: Stream
    _connect: Callable[[int], Awaitable[socket]]
    _reactor: IForwardingReactor
    _patience: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    async def run(self) -> None:
        """Return when the connection is over.  Cancelling ends it."""
        self._error.discard()
        try:
            await self._copy()
        except CriwistError as error:
            self._log.info("port {port} was not forwarded: {error}", port=self._port, error=str(error))
            self._error.write(f"error forwarding port {self._port} to the pod: {error}".encode())
        finally:
            if self._patience is not None and self._patience.active():
                self._patience.cancel()
            # The text first: who waits for the data to end looks for it right after.
            self._error.loseConnection()
            self._data.loseConnection()

    async def _copy(self) -> None:
        pod = _ToClient(self._data, lambda: self._pod_is_done(client))
        with closing(await self._connect(self._port)) as connected:
            factory: Any = Factory.forProtocol(lambda: pod)
            self._reactor.adoptStreamConnection(connected.fileno(), connected.family, factory)
        client = _ToPod(pod)
        self._data.connect(client)
        try:
            await pod.lost
        except CancelledError:
            pod.abort()
            raise
        if not pod.whole and not self._data.gone:
            raise Unavailable("the pod's end of the connection broke")

    def _pod_is_done(self, client: _ToPod) -> None:
        """Wait for the client's half, not for ever."""
        self._error.loseConnection()
        client.heard = False
        self._patience = self._reactor.callLater(HALF_OPEN_WAIT, self._lose_patience, client)

    def _lose_patience(self, client: _ToPod) -> None:
        if client.heard:
            client.heard = False
            self._patience = self._reactor.callLater(HALF_OPEN_WAIT, self._lose_patience, client)
        else:
            self._data.loseConnection()
