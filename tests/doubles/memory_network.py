"""Connections within the process: real protocols on both ends, no sockets, and deliveries at known moments.

A write puts bytes into the peer's inbox.  :meth:`MemoryNetwork.settle` delivers, one item at a time and never within
a write, until every inbox is empty.  A connection, a request, a timer and an act of a test each end with a call of
it; if a test forgets, the clock calls it at its next advance.  So in a synchronous test a call has its response when
it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

#: Bytes in a paused peer's inbox above which a producer is paused.
HIGH_WATER = 64 << 10
#: Deliveries of one settle; two ends that respond to each other for ever are an error of the test.
MAX_TURNS = 1_000_000

_END = object()


@define(eq=False)
class MemoryNetwork:
    """The connections of one test."""

    _clock: IReactorTime
    _ready: deque[MemoryTransport] = field(factory=deque, init=False)
    _settling: bool = field(default=False, init=False)
    _later: IDelayedCall | None = field(default=None, init=False)

    def connect(self, client: IProtocol, server: IProtocol) -> None:
        """Connect the two; both get ``makeConnection``, the server first."""
        ours, theirs = MemoryTransport(self, client), MemoryTransport(self, server)
        ours.peer, theirs.peer = theirs, ours
        server.makeConnection(theirs)
        client.makeConnection(ours)

    def settle(self) -> None:
        """Deliver until all inboxes are empty.  A call from within a delivery does nothing."""
        if self._settling:
            return
        self._settling = True
        try:
            for _ in range(MAX_TURNS):
                if not self._ready:
                    break
                self._ready.popleft().deliver()
            else:
                raise RuntimeError("the two ends of a memory connection respond to each other for ever")
        finally:
            self._settling = False
            if self._later is not None and self._later.active():
                self._later.cancel()
            self._later = None

    def wake(self, transport: MemoryTransport) -> None:
        """Schedule a delivery from *transport*'s inbox."""
        self._ready.append(transport)
        if self._later is None and not self._settling:
            self._later = self._clock.callLater(0, self.settle)


@implementer(ITransport, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class MemoryTransport:
    """One end of a connection."""

    peer: MemoryTransport
    disconnecting = False

    def __init__(self, network: MemoryNetwork, protocol: IProtocol) -> None:
        self._network = network
        self._protocol = protocol
        self._inbox: deque[bytes | object | Failure] = deque()
        self._paused = False
        self._producer: Any = None
        self._producer_paused = False
        self._streaming = True
        self._write_closed = False
        self.connected = True

    # -- Deliveries

    def post(self, item: bytes | object | Failure) -> None:
        """Put bytes, the end of the peer's half, or the loss of the connection into the inbox."""
        if self.connected:
            self._inbox.append(item)
            self._network.wake(self)

    def deliver(self) -> None:
        """Pass the oldest item of the inbox to the protocol, unless reading is paused."""
        if not self.connected or not self._inbox or (self._paused and not isinstance(self._inbox[0], Failure)):
            return
        item = self._inbox.popleft()
        if isinstance(item, bytes):
            self._protocol.dataReceived(item)
            self.peer.refill()
        elif isinstance(item, Failure):
            self._lost(item)
        else:
            halves = IHalfCloseableProtocol(self._protocol, None)
            if halves is not None:
                halves.readConnectionLost()
            else:
                self._end(ConnectionDone())

    def _lost(self, reason: Failure) -> None:
        self.connected = False
        self._inbox.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._protocol.connectionLost(reason)

    def _end(self, reason: Exception, peer_reason: Exception | None = None) -> None:
        """Disconnect: the peer's protocol is notified after all bytes that were written, ours at its next delivery."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self.peer.post(Failure(peer_reason or ConnectionDone()))
            self._inbox.appendleft(Failure(reason))
            self._network.wake(self)

    # -- ITransport, IHalfCloseableDescriptor

    def write(self, data: bytes) -> None:
        if data and self.connected and not self._write_closed and not self.disconnecting:
            self.peer.post(bytes(data))
            if self._producer is not None and self.peer.backlog() > HIGH_WATER and not self._producer_paused:
                self._producer_paused = True
                self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self, connDone: Failure | None = None) -> None:
        """Close after all bytes that were written; at once if our half is closed already, as reactors do."""
        if self._write_closed and self.connected and not self.disconnecting:
            self.disconnecting = True
            self.peer.post(Failure(ConnectionDone()))
            self._lost(Failure(ConnectionDone()))
        else:
            self._end(ConnectionDone())

    def abortConnection(self) -> None:
        if not self.disconnecting:
            self.peer._inbox.clear()
        self._end(ConnectionLost(), ConnectionLost())

    def loseWriteConnection(self) -> None:
        """Close our half.

        :raises ValueError: the connection is lost; a reactor has no descriptor then.
        """
        if not self.connected:
            raise ValueError("the connection is lost: it has no half to close")
        if not self._write_closed:
            self._write_closed = True
            self.peer.post(_END)

    def readConnectionLost(self, reason: Failure) -> None:
        """Do nothing: only reactors call this."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """Do nothing: only reactors call this."""

    def getPeer(self) -> IAddress:
        return UNIXAddress(b"memory")

    def getHost(self) -> IAddress:
        return UNIXAddress(b"memory")

    # -- IConsumer, IPushProducer

    def backlog(self) -> int:
        """Return the number of bytes in the inbox."""
        return sum(len(item) for item in self._inbox if isinstance(item, bytes))

    def refill(self) -> None:
        """Resume the producer once the peer has room again."""
        if self._producer is None or self.peer.backlog() > HIGH_WATER:
            return
        if self._producer_paused or not self._streaming:
            self._producer_paused = False
            self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not self.connected:
            producer.stopProducing()
        elif not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        if self._paused:
            self._paused = False
            for _ in self._inbox:
                self._network.wake(self)

    def stopProducing(self) -> None:
        self.loseConnection()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class MemoryEndpoint:
    """Connects to servers that *build* makes; None from it refuses the connection."""

    _network: MemoryNetwork
    _build: Callable[[], IProtocol | None]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect at once; the server has responded to the client's first bytes when this returns."""
        server = self._build()
        if server is None:
            return fail(ConnectionRefusedError("no such engine"))
        client = protocolFactory.buildProtocol(UNIXAddress(b"memory"))
        if client is None:
            return fail(ConnectionLost())
        self._network.connect(client, server)
        self._network.settle()
        return succeed(client)


@implementer(IAgent)
@define(eq=False)
class SettlingAgent:
    """An agent that delivers a request, and the response if the server sends it at once, before it returns."""

    _agent: IAgent
    _network: MemoryNetwork

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[IResponse]:
        response = self._agent.request(method, uri, headers, bodyProducer)
        response.addCallback(_SettlingResponse, self._network)
        self._network.settle()
        return response


class _SettlingResponse(proxyForInterface(IResponse)):  # type: ignore[misc]  # a class made at run time
    """A response that delivers its body, as far as the server has sent it, before ``deliverBody`` returns."""

    def __init__(self, original: IResponse, network: MemoryNetwork) -> None:
        self.original = original
        self._network = network

    def deliverBody(self, protocol: IProtocol) -> None:
        self.original.deliverBody(protocol)
        self._network.settle()
