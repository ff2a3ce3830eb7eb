"""What a stream does with the bytes that arrive."""

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
    """Notes whether it is read."""

    full = False
    held = False

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """Nowhere."""

    def finish(self, stream: Stream) -> None:
        """Nothing."""

    reset = abandon = gone = finish

    def hold(self, stream: Stream) -> None:
        """Read no more."""
        self.held = True

    def release(self, stream: Stream) -> None:
        """Read on."""
        self.held = False

    def getPeer(self) -> IAddress:
        """A name."""
        return UNIXAddress(b"peer")

    getHost = getPeer


@implementer(IChunksReceived)
class Pieces(Protocol):
    """Keeps the pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []

    def chunksReceived(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Keep them."""
        self.pieces += chunks


class Whole(Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received.append(data)


class StreamTests(SynchronousTestCase):
    """A stream between a carrier and a protocol."""

    def setUp(self) -> None:
        self.carrier = Carrier()
        self.stream = Stream(self.carrier, 1)
        verifyObject(ICarrier, self.carrier)

    def test_pieces(self) -> None:
        """A protocol that asks for pieces gets them as they lie, with no copy between."""
        protocol = Pieces()
        self.stream.connect(protocol)
        pieces = [memoryview(b"ab"), memoryview(b"cd")]
        self.stream.received(pieces)
        self.assertTrue(all(got is sent for got, sent in zip(protocol.pieces, pieces, strict=True)))

    def test_whole(self) -> None:
        """Any other protocol gets bytes, once."""
        protocol = Whole()
        self.stream.connect(protocol)
        self.stream.received([memoryview(b"ab"), memoryview(b"cd")])
        self.assertEqual(protocol.received, [b"abcd"])

    def test_what_is_kept(self) -> None:
        """It is a copy of the bytes alone: a view would keep the whole read, and may change."""
        protocol = Pieces()
        self.stream.connect(protocol)
        self.stream.pauseProducing()
        read = bytearray(b"abcdef")
        self.stream.received([memoryview(read)[:2], memoryview(read)[4:]])
        read[:] = b"......"
        self.stream.resumeProducing()
        self.assertEqual([bytes(piece) for piece in protocol.pieces], [b"abef"])

    def test_the_bound(self) -> None:
        """With more than READ_AHEAD kept the carrier is not read, until all is delivered."""
        self.stream.received([bytes(READ_AHEAD)])
        self.assertFalse(self.carrier.held)
        self.stream.received([b"x"])
        self.assertTrue(self.carrier.held)
        self.stream.connect(Whole())
        self.assertFalse(self.carrier.held)
