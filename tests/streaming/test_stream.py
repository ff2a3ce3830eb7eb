"""Bytes that arrive on a stream: delivered, buffered, bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from criwist.streaming.stream import READ_AHEAD, ICarrier, IChunksReceived, Stream


@implementer(ICarrier)
class Carrier:
    """A carrier that records whether it reads."""

    full = False
    held = False

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """Drop the bytes."""

    def finish(self, stream: Stream) -> None:
        """Do nothing."""

    reset = abandon = forget = finish

    def hold_reading(self, stream: Stream) -> None:
        self.held = True

    def release_reading(self, stream: Stream) -> None:
        self.held = False

    def getPeer(self) -> IAddress:
        return UNIXAddress(b"peer")

    getHost = getPeer


@implementer(IChunksReceived)
class Pieces(Protocol):
    """A protocol that takes pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        self.pieces += chunks


class Whole(Protocol):
    """A protocol that takes whole bytes."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)


class StreamTests(SynchronousTestCase):
    """A stream between a carrier and a protocol."""

    def setUp(self) -> None:
        self.carrier = Carrier()
        self.stream = Stream(self.carrier, 1)
        verifyObject(ICarrier, self.carrier)

    def test_pieces(self) -> None:
        """A protocol that takes pieces gets the carrier's own objects, without a copy."""
        protocol = Pieces()
        self.stream.connect(protocol)
        pieces = [memoryview(b"ab"), memoryview(b"cd")]
        self.stream.received(pieces)
        self.assertTrue(all(got is sent for got, sent in zip(protocol.pieces, pieces, strict=True)))

    def test_whole(self) -> None:
        """Any other protocol gets the pieces joined, in one call."""
        protocol = Whole()
        self.stream.connect(protocol)
        self.stream.received([memoryview(b"ab"), memoryview(b"cd")])
        self.assertEqual(protocol.received, [b"abcd"])

    def test_buffered_bytes(self) -> None:
        """The stream buffers a copy of its own bytes: a view would keep the whole read in memory, and may change."""
        protocol = Pieces()
        self.stream.connect(protocol)
        self.stream.pauseProducing()
        read = bytearray(b"abcdef")
        self.stream.received([memoryview(read)[:2], memoryview(read)[4:]])
        read[:] = b"......"
        self.stream.resumeProducing()
        self.assertEqual([bytes(piece) for piece in protocol.pieces], [b"abef"])

    def test_the_bound(self) -> None:
        """With more than READ_AHEAD bytes buffered the carrier stops reading, until all are delivered."""
        self.stream.received([bytes(READ_AHEAD)])
        self.assertFalse(self.carrier.held)
        self.stream.received([b"x"])
        self.assertTrue(self.carrier.held)
        self.stream.connect(Whole())
        self.assertFalse(self.carrier.held)
