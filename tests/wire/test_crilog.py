"""The CRI log line."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.crilog import (
    COPIER_BUFFER,
    TIME_LENGTH,
    Line,
    MalformedLine,
    encode,
    fills_buffer,
    nanoseconds,
    nine_digits,
    parse,
    time_text,
)

moments = st.integers(0, 4_000_000_000 * 10**9)
contents = st.binary(max_size=80).map(lambda content: content.replace(b"\n", b""))
lines = st.builds(Line, moments.map(time_text), st.sampled_from([b"stdout", b"stderr"]), st.booleans(), contents)


class LineTests(SynchronousTestCase):
    """Lines written and read."""

    @given(lines)
    def test_round_trip(self, line: Line) -> None:
        """A line reads back as written, with CR, NUL, spaces at both ends and bytes that are not UTF-8."""
        self.assertEqual(parse(encode(line)), line)

    @given(lines)
    def test_no_newline_inside(self, line: Line) -> None:
        """A line ends at its only newline."""
        self.assertEqual(encode(line).find(b"\n"), len(encode(line)) - 1)

    @given(st.binary(max_size=80))
    def test_any_bytes(self, raw: bytes) -> None:
        """Bytes that are not a line raise MalformedLine, and no other error."""
        try:
            line = parse(raw)
        except MalformedLine:
            return
        self.assertEqual(encode(line), raw)

    def test_empty_content(self) -> None:
        """An empty line keeps the space after its tag, which readers expect."""
        line = Line(b"2023-11-23T13:43:00.000000001Z", b"stderr", False, b"")
        self.assertEqual(encode(line), b"2023-11-23T13:43:00.000000001Z stderr F \n")

    def test_further_tags(self) -> None:
        """Tags after the first are for extensions and are ignored."""
        line = parse(b"2016-10-06T00:17:09.669794202Z stdout P:x:y log\n")
        self.assertEqual(line, Line(b"2016-10-06T00:17:09.669794202Z", b"stdout", True, b"log"))

    def test_refuses_newline(self) -> None:
        """Content with a newline is refused, since a reader would see two lines."""
        with self.assertRaises(MalformedLine):
            encode(Line(time_text(0), b"stdout", False, b"a\nb"))

    def test_refuses_torn_line(self) -> None:
        """A line without its newline is refused."""
        with self.assertRaises(MalformedLine):
            parse(b"2016-10-06T00:17:09.669794202Z stdout F lo")


class TimeTests(SynchronousTestCase):
    """Times of lines."""

    @given(moments)
    def test_round_trip(self, moment: int) -> None:
        """Nanoseconds read back as written."""
        self.assertEqual(nanoseconds(time_text(moment)), moment)

    @given(moments)
    def test_length(self, moment: int) -> None:
        """Every time has nine digits, so that times sort as text."""
        self.assertEqual(len(time_text(moment)), TIME_LENGTH)

    @given(moments, moments)
    def test_order(self, one: int, other: int) -> None:
        """Times sort as text."""
        self.assertEqual(one < other, time_text(one) < time_text(other))

    @given(moments)
    def test_nine_digits(self, moment: int) -> None:
        """Zeros that Go omits are filled in."""
        time = time_text(moment)
        short = re.sub(rb"\.?0*Z$", b"Z", time)
        self.assertEqual(nine_digits(short), time)

    def test_offset(self) -> None:
        """Other runtimes write local time with an offset."""
        self.assertEqual(nanoseconds(b"2016-10-06T02:17:09.5+02:00"), nanoseconds(b"2016-10-06T00:17:09.5Z"))
        self.assertEqual(nine_digits(b"2016-10-06T02:17:09.5+02:00"), b"2016-10-06T00:17:09.500000000Z")

    def test_no_time(self) -> None:
        """A text that is not a time, or an impossible date, is refused."""
        for text in (b"", b"now", b"2016-13-06T00:17:09Z", b"2016-10-06T00:17:09.1234567890Z"):
            with self.assertRaises(MalformedLine):
                nanoseconds(text)


class PartialTests(SynchronousTestCase):
    """Pieces whose line continues."""

    def test_full_buffer(self) -> None:
        """Docker cuts a line only where its buffer is full."""
        self.assertTrue(fills_buffer(COPIER_BUFFER))
        self.assertFalse(fills_buffer(COPIER_BUFFER - 1))
