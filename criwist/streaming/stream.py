"""A stream that is a transport.

SPDY streams and WebSocket channels differ in their bytes, not in what one does with them.  Here each is an ITransport
with half-close, a consumer whose producer is paused when the connection is full, and a producer that can be paused
itself.  What carries streams is an :class:`ICarrier`; it calls the methods under *For the carrier*.

Back-pressure.  Outwards the connection's transport buffer is what fills: its carrier then pauses the producers of
all its streams.  Inwards, what arrives for a paused stream is kept, up to READ_AHEAD and what came in the same read;
then the carrier stops reading.  TCP does the rest.  So one stream that nobody reads stops its whole connection, as
in every other implementation of these protocols, which have no windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

#: Bytes that one paused stream may hold before its connection is no longer read.  Enough that a short stall of one
#: stream does not stop the others.
READ_AHEAD: Final = 256 << 10


class IChunksReceived(Interface):
    """Of a stream's protocol that sends on what arrives: it gets the pieces as they lie in the connection's read."""

    def chunksReceived(chunks: Sequence[bytes | memoryview]) -> None:
        """Bytes in pieces, instead of ``dataReceived``.  Views are good during this call only."""


class ICarrier(Interface):
    """A connection that carries streams."""

    full = Attribute("bool: producers are to pause")

    def send(stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """Send the bytes, which are consumed before this returns."""

    def finish(stream: Stream) -> None:
        """Tell the peer that nothing more will come on *stream*, if the protocol can."""

    def reset(stream: Stream) -> None:
        """Tell the peer that *stream* is gone, if the protocol can."""

    def abandon(stream: Stream) -> None:
        """After :meth:`finish`: drop what the peer may still send on *stream*."""

    def hold(stream: Stream) -> None:
        """Stop reading until every stream that holds has released.  Idempotent."""

    def release(stream: Stream) -> None:
        """End :meth:`hold`.  Idempotent."""

    def gone(stream: Stream) -> None:
        """Both directions of *stream* are closed: forget it."""

    def getPeer() -> IAddress:
        """The client's address."""

    def getHost() -> IAddress:
        """Ours."""


@implementer(ITransport, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class Stream:
    """One stream.  It keeps what arrives until :meth:`connect`.

    :param number: the carrier's name for it.
    """

    def __init__(self, carrier: ICarrier, number: int) -> None:
        self.number = number
        self._carrier = carrier
        self._protocol: IProtocol | None = None
        self._deliver: Callable[[Sequence[bytes | memoryview]], None]
        self._producer: IPushProducer | None = None
        self._sending = True
        self._receiving = True
        #: Nothing comes or goes any more.
        self.gone = False
        #: The protocol knows that the peer's direction is closed.
        self._told = False
        #: Nobody wants what arrives.
        self._discarding = False
        self._paused = False
        self._kept: deque[bytes] = deque()
        self._kept_length = 0

    def connect(self, protocol: IProtocol) -> None:
        """Make *protocol* this stream's: it gets what has arrived and will, and ``connectionLost`` once."""
        self._protocol = protocol
        taker: Any = protocol
        if IChunksReceived.providedBy(protocol):
            self._deliver = taker.chunksReceived
        else:
            self._deliver = lambda chunks: taker.dataReceived(b"".join(chunks))
        protocol.makeConnection(self)
        self._deliver_kept()

    def discard(self) -> None:
        """Drop what has arrived and will."""
        self._discarding = True
        self._kept.clear()
        self._kept_length = 0
        self._carrier.release(self)

    # -- For the carrier

    def received(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Bytes have arrived.  They are taken or copied before this returns."""
        if self._discarding or self.gone:
            return
        if self._paused or self._kept or self._protocol is None:
            data = b"".join(chunks)
            self._kept.append(data)
            self._kept_length += len(data)
            if self._kept_length > READ_AHEAD:
                self._carrier.hold(self)
        else:
            self._deliver(chunks)

    def finished(self) -> None:
        """The peer will send nothing more."""
        self._receiving = False
        if not self._kept:
            self._tell_finished()

    def lost(self, reason: Failure) -> None:
        """The stream is gone, for *reason*.  Idempotent."""
        if self.gone:
            return
        self.gone = True
        self._sending = self._receiving = False
        self.discard()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._carrier.gone(self)
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    def pause_producer(self) -> None:
        """The connection is full."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """The connection has room."""
        if self._producer is not None:
            self._producer.resumeProducing()

    # -- ITransport, IHalfCloseableDescriptor

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if data and self._sending:
            self._carrier.send(self, (data,))

    def writeSequence(self, data: Iterable[bytes | memoryview]) -> None:
        """Send chunks as if they were one."""
        if self._sending:
            self._carrier.send(self, data)

    def loseWriteConnection(self) -> None:
        """Close our direction."""
        if not self._sending:
            return
        self._sending = False
        self._carrier.finish(self)
        if not self._receiving:
            self.lost(Failure(ConnectionDone()))

    def loseConnection(self) -> None:
        """Close our direction, and be rid of the stream: what the peer may still send in its is dropped."""
        self.discard()
        self.loseWriteConnection()
        if not self.gone:
            self._carrier.abandon(self)
            self.lost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Be rid of the stream at once."""
        if not self.gone:
            self._carrier.reset(self)
            self.lost(Failure(ConnectionDone()))

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer's direction was closed (IHalfCloseableDescriptor)."""
        self.finished()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Our direction was closed (IHalfCloseableDescriptor)."""
        self.lost(reason)

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._carrier.getPeer()

    def getHost(self) -> IAddress:
        """Ours."""
        return self._carrier.getHost()

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume *producer*, a push producer, as the connection fills and empties."""
        if not streaming:
            raise ValueError("streams take push producers")
        if self._producer is not None:
            raise RuntimeError("the stream has a producer already")
        if self.gone:
            producer.stopProducing()
            return
        self._producer = producer
        if self._carrier.full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Leave the producer alone."""
        self._producer = None

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Keep what arrives."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Deliver what was kept, and what arrives."""
        self._paused = False
        self._deliver_kept()

    def stopProducing(self) -> None:
        """The consumer of what arrives is gone."""
        self.discard()

    def _deliver_kept(self) -> None:
        # Chunk by chunk: joined, they would be copied, and be too large for the allocator's fast path (see BULK).
        while self._kept and not self._paused and self._protocol is not None:
            data = self._kept.popleft()
            self._kept_length -= len(data)
            self._deliver((data,))
        if not self._kept:
            self._carrier.release(self)
            if not self._receiving and not self.gone:
                self._tell_finished()

    def _tell_finished(self) -> None:
        """Once, after the last byte; then the stream may be gone altogether."""
        if not self._discarding:
            if self._told or self._protocol is None:
                return
            self._told = True
            halves = IHalfCloseableProtocol(self._protocol, None)
            if halves is None:
                self.loseWriteConnection()
            else:
                halves.readConnectionLost()
        if not self._sending:
            self.lost(Failure(ConnectionDone()))
