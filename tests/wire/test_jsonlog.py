"""Docker's json-file entries as CRI lines."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.crilog import COPIER_BUFFER
from criwist.wire.jsonlog import decode, first_entry_length
from tests.logs.engine_formats import Piece, json_entry

NOW = 1_700_000_000_123_456_789

moments = st.one_of(
    st.integers(NOW, NOW + 10**12), st.integers(NOW // 10**9, NOW // 10**9 + 9).map(lambda second: second * 10**9)
)
texts = st.one_of(
    st.text(st.sampled_from('ab"\\nrtu0{}:,<&\t\r\x1b\0é\u2028\ufffd😀'), max_size=30),
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=30),
)
pieces = st.builds(
    Piece,
    moments,
    st.sampled_from([b"stdout", b"stderr"]),
    texts.map(str.encode),
    st.sampled_from([True, True, True, False]),
)


class DecodeTests(SynchronousTestCase):
    """Conversion of whole entries."""

    @settings(max_examples=300)
    @given(st.lists(pieces, max_size=8))
    def test_lines(self, written: list[Piece]) -> None:
        """Each entry becomes one line with its bytes, time and stream."""
        data = b"".join(map(json_entry, written))
        self.assertEqual(decode(data), (b"".join(piece.line for piece in written), len(data), 0))

    @settings(max_examples=200)
    @given(st.lists(st.tuples(pieces, st.sampled_from([0, 0, 1000, 17000])), min_size=1, max_size=4))
    def test_long_lines(self, written: list[tuple[Piece, int]]) -> None:
        """Long lines are converted like others, beside lines of any length."""
        longer = [Piece(NOW, b"stderr", b"y" * 1000)]
        longer += [piece._replace(content=b"x" * length + piece.content) for piece, length in written]
        data = b"".join(map(json_entry, longer))
        self.assertEqual(decode(data), (b"".join(piece.line for piece in longer), len(data), 0))

    def test_long_line_torn(self) -> None:
        """Damaged long lines are left out too."""
        long = Piece(NOW, b"stderr", b"y" * 2000)
        data = json_entry(long) + json_entry(long)[:1500] + json_entry(long) + b"x" * 3000 + b"\n" + json_entry(long)
        self.assertEqual(decode(data), (long.line * 3, len(data), 2))

    @given(st.lists(pieces, min_size=1, max_size=5), st.data())
    def test_cut_anywhere(self, written: list[Piece], data: st.DataObject) -> None:
        """The output does not depend on where a read ends."""
        log = b"".join(map(json_entry, written))
        cut = data.draw(st.integers(0, len(log)))
        first = decode(log[:cut])
        second = decode(log[first.consumed :])
        self.assertEqual(first.output + second.output, decode(log).output)
        self.assertEqual(first.consumed + second.consumed, len(log))

    @given(st.lists(st.tuples(pieces, st.sampled_from(["all", "all", "some"])), min_size=1, max_size=4), st.booleans())
    def test_attributes(self, written: list[tuple[Piece, str]], compact: bool) -> None:
        """Labels that the daemon adds to entries change nothing, in all entries or in some."""
        separators = (",", ":") if compact else None
        attributes = json.dumps({"tag": 'a"}\\', "env": '{},"time":"', "}": "},"}, separators=separators)
        data = b"".join(json_entry(piece, attributes if have == "all" else "") for piece, have in written)
        self.assertEqual(decode(data), (b"".join(piece.line for piece, _ in written), len(data), 0))

    def test_attributes_in_the_content(self) -> None:
        """Text of the container that looks like attributes stays."""
        content = b'","attrs":{"a":"b"},"time":"'
        written = [Piece(NOW, b"stdout", content), Piece(NOW, b"stderr", content * 90)]
        data = b"".join(json_entry(piece, '{"a":"b"}') for piece in written)
        self.assertEqual(decode(data).output, b"".join(piece.line for piece in written))

    @given(st.lists(pieces, min_size=1, max_size=3), pieces, st.lists(pieces, min_size=1, max_size=3), st.data())
    def test_torn_entry(self, before: list[Piece], torn: Piece, after: list[Piece], data: st.DataObject) -> None:
        """An unfinished entry is left out and counted; the entry after it on the line is kept."""
        entry = json_entry(torn)
        cut = entry[: data.draw(st.integers(9, len(entry) - 3))]
        log = b"".join(map(json_entry, before)) + cut + b"".join(map(json_entry, after))
        converted = decode(log)
        expected = b"".join(piece.line for piece in (*before, *after))
        self.assertEqual(converted, (expected, len(log), 1))

    @given(
        st.lists(
            st.sampled_from(
                [
                    b'{"log":"a\\n","stream":"stdout","time":"2023-11-23T13:43:00Z"}\n',
                    b"\0\0\0",
                    b"\n",
                    b'"',
                    b"\\",
                    b'{"log":"',
                    b'"}\n',
                    b"{}\n",
                    b"\xff",
                    b"[]\n",
                ]
            ),
            max_size=9,
        )
    )
    def test_garbage(self, parts: list[bytes]) -> None:
        """For any bytes, whole lines are consumed and only valid entries are converted."""
        log = b"".join(parts)
        converted = decode(log)
        self.assertEqual(converted.consumed, log.rfind(b"\n") + 1)
        for line in converted.output.splitlines():
            self.assertEqual(line, b"2023-11-23T13:43:00.000000000Z stdout F a")

    def test_pieces_of_a_line(self) -> None:
        """A line of 40,000 bytes is two full buffers, tagged P, and a rest, tagged F."""
        cut = [Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False)] * 2 + [Piece(NOW, b"stdout", b"x" * 7232)]
        output = decode(b"".join(map(json_entry, cut))).output
        self.assertEqual([line.split(b" ")[2] for line in output.splitlines()], [b"P", b"P", b"F"])
        self.assertEqual(output, b"".join(piece.line for piece in cut))

    def test_backslash_at_the_end(self) -> None:
        """A last piece that ends in a backslash and an n does not count as ended by a newline."""
        for content in (b"\\n", b"a\\n", b"\\\\n", b"\\", b'"\\n'):
            for ended in (True, False):
                piece = Piece(NOW, b"stdout", content, ended)
                self.assertEqual(decode(json_entry(piece)).output, piece.line)

    def test_surrogates(self) -> None:
        """Pairs of escapes become their character; half a pair, which no engine writes, becomes U+FFFD."""
        entry = b'{"log":"\\ud83d\\ude00 \\ud83d\\n","stream":"stdout","time":"2023-11-23T13:43:00Z"}\n'
        expected = "2023-11-23T13:43:00.000000000Z stdout F 😀 \ufffd\n".encode()
        self.assertEqual(decode(entry).output, expected)

    def test_newline_inside(self) -> None:
        """An entry with newlines inside, which no engine writes, becomes several lines rather than a broken one."""
        entry = b'{"log":"a\\nb\\n","stream":"stdout","time":"2023-11-23T13:43:00.5Z"}\n'
        time = b"2023-11-23T13:43:00.500000000Z"
        self.assertEqual(decode(entry).output, time + b" stdout F a\n" + time + b" stdout F b\n")

    def test_nothing_whole(self) -> None:
        """The beginning of an entry is not consumed."""
        self.assertEqual(decode(b'{"log":"a'), (b"", 0, 0))
        self.assertEqual(decode(b""), (b"", 0, 0))

    def test_first_entry(self) -> None:
        """The length of the first entry is known once the entry is whole."""
        entry = json_entry(Piece(NOW, b"stdout", b"a"))
        self.assertEqual(first_entry_length(entry[:-1]), 0)
        self.assertEqual(first_entry_length(entry + entry), len(entry))
