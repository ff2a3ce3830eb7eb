"""Entries of Docker's local driver as CRI lines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.crilog import COPIER_BUFFER
from criwist.wire.locallog import MAX_MESSAGE, decode, first_entry_length
from tests.logs.engine_formats import Piece, local_entry

NOW = 1_700_000_000_123_456_789

moments = st.one_of(st.integers(NOW, NOW + 10**7), st.integers(NOW, NOW + 10**13))
pieces = st.builds(
    Piece,
    moments,
    st.sampled_from([b"stdout", b"stderr"]),
    st.one_of(
        st.binary(max_size=20),
        st.binary(min_size=120, max_size=140),
        st.integers(0x3FF0, 0x4010).map(lambda size: b"x" * size),
        st.just(b"x" * 20000),
    ).map(lambda content: content.replace(b"\n", b"")),
    st.sampled_from([True, True, False]),
)


class DecodeTests(SynchronousTestCase):
    """Conversion of whole entries."""

    @settings(max_examples=200)
    @given(st.lists(pieces, max_size=6))
    def test_lines(self, written: list[Piece]) -> None:
        """Each entry becomes one line with its bytes, time and stream, UTF-8 or not."""
        data = b"".join(map(local_entry, written))
        self.assertEqual(decode(data), (b"".join(piece.line for piece in written), len(data), 0))

    @given(st.lists(pieces, min_size=1, max_size=4), st.data())
    def test_cut_anywhere(self, written: list[Piece], data: st.DataObject) -> None:
        """The output does not depend on where a read ends."""
        log = b"".join(map(local_entry, written))
        cut = data.draw(st.integers(0, len(log)))
        first = decode(log[:cut])
        self.assertEqual(first.broken, 0)
        second = decode(log[first.consumed :])
        self.assertEqual(first.output + second.output, decode(log).output)
        self.assertEqual(first.consumed + second.consumed, len(log))

    def test_pieces_of_a_line(self) -> None:
        """The last piece of a cut line, which engines mark as cut like the others, is tagged F."""
        full = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False)
        rest = Piece(NOW, b"stdout", b"x" * 7232)
        data = local_entry(full, number=1) + local_entry(full, number=2) + local_entry(rest, number=3)
        self.assertEqual(decode(data).output, full.line * 2 + rest.line)

    def test_marked_as_the_last(self) -> None:
        """A piece that an engine marks as the last is tagged F."""
        message = local_entry(Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False), number=2)[4:-4]
        message = message.replace(b"\x2a\x44\x12\x40", b"\x2a\x46\x08\x01\x12\x40")
        length = len(message).to_bytes(4, "big")
        expected = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER).line
        self.assertEqual(decode(length + message + length).output, expected)

    def test_line_of_the_buffers_size(self) -> None:
        """A line as long as the buffer that was not cut is whole."""
        piece = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER)
        self.assertEqual(decode(local_entry(piece)).output, piece.line)

    def test_as_engines_write_it(self) -> None:
        """Bytes of a file that Docker 20.10 wrote are converted."""
        entry = bytes.fromhex("00000019 0a067374646f7574 10b8d4e4effb9eacf518 1a05706c61696e 00000019")
        self.assertEqual(decode(entry).output, b"2026-11-23T13:52:59.551197752Z stdout F plain\n")

    @given(st.lists(pieces, max_size=3), st.binary(min_size=1, max_size=60), st.lists(pieces, min_size=1, max_size=3))
    def test_damage(self, before: list[Piece], damage: bytes, after: list[Piece]) -> None:
        """After damage, reading continues with the next whole entry."""
        head = b"".join(map(local_entry, before))
        tail = b"".join(map(local_entry, after))
        # Too long for a message, so that it is seen to be damage at once.
        log = head + (MAX_MESSAGE + 1).to_bytes(4, "big") + damage + tail
        converted = decode(log)
        self.assertTrue(converted.output.startswith(b"".join(piece.line for piece in before)))
        self.assertTrue(converted.output.endswith(b"".join(piece.line for piece in after)))
        self.assertEqual(converted.consumed, len(log))
        self.assertGreaterEqual(converted.broken, 1)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Damaged bytes are left out, and nothing else happens."""
        converted = decode(data)
        self.assertLessEqual(converted.consumed, len(data))

    def test_first_entry(self) -> None:
        """The length of the first entry is known once the entry is whole."""
        entry = local_entry(Piece(NOW, b"stdout", b"a"))
        self.assertEqual(first_entry_length(entry[:-1]), 0)
        self.assertEqual(first_entry_length(b"\0"), 0)
        self.assertEqual(first_entry_length(entry + entry), len(entry))
