"""A stream that is a transport.

SPDY streams and WebSocket channels differ in their bytes, not in their use.  Here each is an ITransport with
half-close, a consumer whose producer is paused when the connection is full, and a producer that can be paused itself.
The connection that carries streams is an :class:`ICarrier`; it calls the methods under *For the carrier*.

Back-pressure.  Outwards, the transport buffer of the connection fills: the carrier then pauses the producers of all its
streams.  Inwards, a paused stream buffers READ_AHEAD bytes, and the read that exceeded them; then the carrier stops
reading.  TCP does the rest.  So one stream without a reader stops its whole connection, as in every other
implementation of these protocols, which have no windows.
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

#: Bytes that one paused stream may buffer before its connection is no longer read.  Enough that a short stall of one
#: stream does not stop the others.
READ_AHEAD: Final = 256 << 10


class IChunksReceived(Interface):
    """A stream's protocol that takes bytes in pieces, without a copy: views of the connection's read."""

    def chunksReceived(chunks: Sequence[bytes | memoryview]) -> None:
        """Take bytes in pieces; called instead of ``dataReceived``.  Views are valid during this call only."""


class ICarrier(Interface):
    """A connection that carries streams."""

    full = Attribute("bool: producers must pause")

    def send(stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """Send the bytes; they are sent or copied before this returns."""

    def finish(stream: Stream) -> None:
        """Send the end of our direction of *stream*, if the protocol has one."""

    def reset(stream: Stream) -> None:
        """Reset *stream*, if the protocol has resets."""

    def abandon(stream: Stream) -> None:
        """After :meth:`finish`: drop the bytes that the peer may still send on *stream*."""

    def hold_reading(stream: Stream) -> None:
        """Stop reading until no stream holds the reading any more.  Idempotent."""

    def release_reading(stream: Stream) -> None:
        """End :meth:`hold_reading` of *stream*.  Idempotent."""

    def forget(stream: Stream) -> None:
        """Remove *stream*, both directions of which are closed."""

    def getPeer() -> IAddress:
        """Return the client's address."""

    def getHost() -> IAddress:
        """Return the server's address."""


@implementer(ITransport, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class Stream:
    """One stream.  It buffers arriving bytes until :meth:`connect`.

    :param number: the stream's number in its carrier.
    """

    def __init__(self, carrier: ICarrier, number: int) -> None:
        self.number = number
        self._carrier = carrier
        self._protocol: IProtocol | None = None
        self._deliver: Callable[[Sequence[bytes | memoryview]], None]
        self._producer: IPushProducer | None = None
        self._sending = True
        self._receiving = True
        #: Both directions are closed.
        self.closed = False
        #: The protocol has got the end of the peer's direction.
        self._end_reported = False
        #: Arriving bytes are dropped.
        self._discarding = False
        self._paused = False
        self._buffered: deque[bytes] = deque()
        self._buffered_bytes = 0

    def connect(self, protocol: IProtocol) -> None:
        """Connect *protocol*: it gets the buffered bytes, all that arrive later, and ``connectionLost`` once."""
        self._protocol = protocol
        receiver: Any = protocol
        if IChunksReceived.providedBy(protocol):
            self._deliver = receiver.chunksReceived
        else:
            self._deliver = lambda chunks: receiver.dataReceived(b"".join(chunks))
        protocol.makeConnection(self)
        self._deliver_buffered()

    def discard(self) -> None:
        """Drop the buffered bytes, and all that arrive later."""
        self._discarding = True
        self._buffered.clear()
        self._buffered_bytes = 0
        self._carrier.release_reading(self)

    # -- For the carrier

    def received(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Deliver or buffer bytes that have arrived.  They are consumed before this returns."""
        if self._discarding or self.closed:
            return
        if self._paused or self._buffered or self._protocol is None:
            data = b"".join(chunks)
            self._buffered.append(data)
            self._buffered_bytes += len(data)
            if self._buffered_bytes > READ_AHEAD:
                self._carrier.hold_reading(self)
        else:
            self._deliver(chunks)

    def finished(self) -> None:
        """Close the peer's direction: it will send nothing more."""
        self._receiving = False
        if not self._buffered:
            self._report_end()

    def lost(self, reason: Failure) -> None:
        """Close the stream for *reason*, without a word to the peer.  Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._sending = self._receiving = False
        self.discard()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._carrier.forget(self)
        if self._protocol is not None:
            self._protocol.connectionLost(reason)

    def pause_producer(self) -> None:
        """Pause the producer: the connection is full."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """Resume the producer: the connection has room."""
        if self._producer is not None:
            self._producer.resumeProducing()

    # -- ITransport, IHalfCloseableDescriptor

    def write(self, data: bytes) -> None:
        """Send bytes, unless our direction is closed."""
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
        """Close our direction, and close the stream: bytes that the peer still sends are dropped."""
        self.discard()
        self.loseWriteConnection()
        if not self.closed:
            self._carrier.abandon(self)
            self.lost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Reset the stream, and close it at once."""
        if not self.closed:
            self._carrier.reset(self)
            self.lost(Failure(ConnectionDone()))

    def readConnectionLost(self, reason: Failure) -> None:
        """Close the peer's direction (IHalfCloseableDescriptor)."""
        self.finished()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Close the stream (IHalfCloseableDescriptor)."""
        self.lost(reason)

    def getPeer(self) -> IAddress:
        return self._carrier.getPeer()

    def getHost(self) -> IAddress:
        return self._carrier.getHost()

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume *producer*, a push producer, as the connection fills and empties."""
        if not streaming:
            raise ValueError("streams take push producers")
        if self._producer is not None:
            raise RuntimeError("the stream already has a producer")
        if self.closed:
            producer.stopProducing()
            return
        self._producer = producer
        if self._carrier.full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Stop pausing and resuming the producer."""
        self._producer = None

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Buffer arriving bytes."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Deliver the buffered bytes, and all that arrive later."""
        self._paused = False
        self._deliver_buffered()

    def stopProducing(self) -> None:
        """Drop arriving bytes: their consumer is gone."""
        self.discard()

    def _deliver_buffered(self) -> None:
        # Chunk by chunk: joined, they would be copied, and be too large for the allocator (see BUFFER_SIZE).
        while self._buffered and not self._paused and self._protocol is not None:
            data = self._buffered.popleft()
            self._buffered_bytes -= len(data)
            self._deliver((data,))
        if not self._buffered:
            self._carrier.release_reading(self)
            if not self._receiving and not self.closed:
                self._report_end()

    def _report_end(self) -> None:
        """Report the end of the peer's direction once, after the last byte; then the stream may be closed."""
        if not self._discarding:
            if self._end_reported or self._protocol is None:
                return
            self._end_reported = True
            half_closeable = IHalfCloseableProtocol(self._protocol, None)
            if half_closeable is None:
                self.loseWriteConnection()
            else:
                half_closeable.readConnectionLost()
        if not self._sending:
            self.lost(Failure(ConnectionDone()))
