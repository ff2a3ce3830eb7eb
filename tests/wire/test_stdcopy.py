"""stdcopy frames are split, wherever the stream is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.stdcopy import Demultiplexer, StdcopyError, Stream, frame


def parted(demultiplexer: Demultiplexer, data: bytes) -> list[tuple[Stream, bytes, bool]]:
    """The chunks, with bytes that can be compared."""
    return [(chunk.stream, bytes(chunk.data), chunk.last) for chunk in demultiplexer.receive_data(data)]


class DemultiplexerTests(SynchronousTestCase):
    """Frames of the Engine API."""

    def test_the_header_is_the_engine_s(self) -> None:
        """A header is a stream number, three zeros and a length in 32 bits big endian (Engine API's reference)."""
        self.assertEqual(frame(Stream.STDERR, b"x" * 258)[:8], b"\x02\0\0\0\0\0\x01\x02")

    def test_frames_in_one_read(self) -> None:
        """Each frame in a read is a chunk that ends its frame; empty ones yield nothing."""
        data = frame(Stream.STDOUT, b"out") + frame(Stream.STDOUT, b"") + frame(Stream.STDERR, b"err")
        self.assertEqual(parted(Demultiplexer(), data), [(Stream.STDOUT, b"out", True), (Stream.STDERR, b"err", True)])

    def test_a_chunk_does_not_wait_for_its_frame(self) -> None:
        """A part of a frame is yielded at once, and is not marked as the last."""
        demultiplexer = Demultiplexer()
        data = frame(Stream.STDOUT, b"long payload")
        self.assertEqual(parted(demultiplexer, data[:12]), [(Stream.STDOUT, b"long", False)])
        self.assertTrue(demultiplexer.pending)
        self.assertEqual(parted(demultiplexer, data[12:]), [(Stream.STDOUT, b" payload", True)])
        self.assertFalse(demultiplexer.pending)

    def test_a_header_in_parts(self) -> None:
        """A header that is not whole yields nothing, and at the end it is pending."""
        demultiplexer = Demultiplexer()
        data = frame(Stream.SYSTEM_ERROR, b"x")
        for position in range(8):
            self.assertEqual(parted(demultiplexer, data[position : position + 1]), [])
            self.assertTrue(demultiplexer.pending)
        self.assertEqual(parted(demultiplexer, data[8:]), [(Stream.SYSTEM_ERROR, b"x", True)])

    def test_payload_is_not_copied(self) -> None:
        """A chunk is a view into the bytes received."""
        data = frame(Stream.STDOUT, b"payload")
        chunk = next(Demultiplexer().receive_data(data))
        self.assertIs(chunk.data.obj, data)

    def test_what_is_no_frame_is_refused(self) -> None:
        """A terminal's raw bytes, an unknown stream and a pad that is not zero are refused, whole or in parts."""
        for data in (b"raw output of a shell", b"\x04\0\0\0\0\0\0\x01x", b"\x01\x01\0\0\0\0\0\x01x"):
            self.assertRaises(StdcopyError, parted, Demultiplexer(), data)
            demultiplexer = Demultiplexer()
            parted(demultiplexer, data[:3])
            self.assertRaises(StdcopyError, parted, demultiplexer, data[3:])


_FRAMES = st.lists(st.tuples(st.sampled_from(Stream), st.binary(max_size=40)), max_size=8)


@given(_FRAMES, st.lists(st.integers(1, 11), min_size=1, max_size=20))
@settings(max_examples=200)
def test_no_cut_changes_the_streams(frames: list[tuple[Stream, bytes]], cuts: list[int]) -> None:
    """Each stream comes out as it went in, with the same frame ends."""
    data = b"".join(frame(stream, payload) for stream, payload in frames)
    demultiplexer = Demultiplexer()
    found: list[tuple[Stream, bytes]] = []
    current = b""
    position = index = 0
    while position < len(data):
        length = cuts[index % len(cuts)]
        for chunk in demultiplexer.receive_data(data[position : position + length]):
            current += bytes(chunk.data)
            if chunk.last:
                found.append((chunk.stream, current))
                current = b""
        position, index = position + length, index + 1
    assert found == [(stream, payload) for stream, payload in frames if payload]
    assert not demultiplexer.pending


@given(st.lists(st.binary(max_size=30), max_size=6))
@settings(max_examples=200)
def test_any_bytes_are_frames_or_refused(chunks: list[bytes]) -> None:
    """Every input gives frames or StdcopyError."""
    demultiplexer = Demultiplexer()
    try:
        for chunk in chunks:
            for _ in demultiplexer.receive_data(chunk):
                pass
    except StdcopyError:
        return
