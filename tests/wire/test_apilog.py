"""The engine's log API as CRI lines."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.apilog import EngineErrorText, Messages, TerminalMessages
from criwist.wire.crilog import COPIER_BUFFER, time_text
from criwist.wire.stdcopy import StdcopyError, Stream, frame
from tests.logs.engine_formats import Piece

NOW = 1_700_000_000_123_456_789

contents = st.binary(max_size=40).map(lambda content: content.replace(b"\n", b""))
pieces = st.builds(
    Piece, st.integers(NOW, NOW + 10**12), st.sampled_from([b"stdout", b"stderr"]), contents, st.sampled_from([1, 1, 0])
)


def _message(piece: Piece, *, newline: bool = True) -> bytes:
    return time_text(piece.moment) + b" " + piece.content + (b"\n" if piece.ended and newline else b"")


def _frame(piece: Piece, *, newline: bool = True) -> bytes:
    return frame(Stream.STDOUT if piece.stream == b"stdout" else Stream.STDERR, _message(piece, newline=newline))


def _fed(messages: Messages | TerminalMessages, data: bytes, cuts: list[int]) -> bytes:
    lines = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        lines += messages.receive_data(data[start:stop])
    return b"".join(lines + messages.end())


class MessagesTests(SynchronousTestCase):
    """Frames of a container without a terminal."""

    @settings(max_examples=200)
    @given(st.lists(pieces, max_size=6), st.lists(st.integers(0, 1000), max_size=5))
    def test_lines(self, written: list[Piece], cuts: list[int]) -> None:
        """Each frame becomes one line, however the bytes arrive."""
        data = b"".join(map(_frame, written))
        self.assertEqual(_fed(Messages(), data, cuts), b"".join(piece.line for piece in written))

    def test_lost_newline(self) -> None:
        """The last piece of a line is tagged F though the driver lost its newline, whatever other streams do."""
        full = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False)
        other = Piece(NOW + 1, b"stderr", b"other", False)
        rest = Piece(NOW, b"stdout", b"x" * 7232)
        data = _frame(full) * 2 + _frame(other) + _frame(rest, newline=False) + _frame(other)
        self.assertEqual(_fed(Messages(), data, []), full.line * 2 + other.line + rest.line + other.line)

    def test_after_the_last_piece(self) -> None:
        """A line that a newline ended does not affect the next."""
        full = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False)
        rest = Piece(NOW, b"stdout", b"x" * 7232)
        end = Piece(NOW, b"stdout", b"end", False)
        data = _frame(full) + _frame(rest) + _frame(end)
        self.assertEqual(_fed(Messages(), data, []), full.line + rest.line + end.line)

    def test_engine_words(self) -> None:
        """An error text of the engine ends the log; the lines before it are whole."""
        piece = Piece(NOW, b"stdout", b"a")
        words = frame(Stream.STDERR, b"Error grabbing logs: log message is too large (2054847098 > 1000000)\n")
        messages = Messages()
        self.assertEqual(messages.receive_data(_frame(piece) + words), [piece.line])
        with self.assertRaisesRegex(EngineErrorText, "too large"):
            messages.end()

    def test_engine_words_of_that_length(self) -> None:
        """An error text with a space in the place of a time's is not taken for a time."""
        words = frame(Stream.STDERR, b"Error grabbing logs: something is wrong\n")
        with self.assertRaisesRegex(EngineErrorText, "something"):
            Messages().receive_data(words)

    def test_system_error(self) -> None:
        """An error in a frame of its own kind ends the log too."""
        with self.assertRaisesRegex(EngineErrorText, "gone"):
            Messages().receive_data(frame(Stream.SYSTEM_ERROR, b"the driver is gone, which is the whole of the story"))

    def test_no_frames(self) -> None:
        """Bytes that are not frames are refused at once."""
        with self.assertRaises(StdcopyError):
            Messages().receive_data(b"2023-11-23T13:43:00.000000001Z hello\n")

    def test_cut_off(self) -> None:
        """A frame that is not whole when the stream ends is dropped: the engine will send it again."""
        data = _frame(Piece(NOW, b"stdout", b"a"))
        self.assertEqual(_fed(Messages(), data[:-1], []), b"")


class TerminalMessagesTests(SynchronousTestCase):
    """The unframed messages of a container with a terminal."""

    @settings(max_examples=200)
    @given(st.lists(pieces, max_size=5), st.lists(st.integers(0, 1000), max_size=5))
    def test_lines(self, written: list[Piece], cuts: list[int]) -> None:
        """Each message becomes one line on stdout; the last may be without newline."""
        shown = [piece._replace(stream=b"stdout", ended=True, content=piece.content[:30] + b"\r") for piece in written]
        if shown:
            shown[-1] = shown[-1]._replace(ended=written[-1].ended)
        data = b"".join(map(_message, shown))
        self.assertEqual(_fed(TerminalMessages(), data, cuts), b"".join(piece.line for piece in shown))

    @given(st.booleans(), st.lists(st.integers(0, 60000), max_size=5), st.sampled_from([0, 1, 7232, COPIER_BUFFER]))
    def test_pieces_of_a_line(self, keeps_newline: bool, cuts: list[int], rest_length: int) -> None:
        """A long line is cut where Docker cut it, with and without its newline."""
        before = Piece(NOW - 1, b"stdout", b"before\r")
        full = Piece(NOW, b"stdout", b"x" * COPIER_BUFFER, False)
        rest = Piece(NOW, b"stdout", b"x" * (rest_length - 1) + b"\r" if rest_length else b"")
        after = Piece(NOW + 5, b"stdout", b"after\r")
        keeps_newline = keeps_newline or rest_length >= COPIER_BUFFER
        data = _message(before) + _message(full) * 2 + _message(rest, newline=keeps_newline) + _message(after)
        expected = before.line + full.line * 2 + rest.line + after.line
        self.assertEqual(_fed(TerminalMessages(), data, cuts), expected)

    def test_longer_than_the_buffer(self) -> None:
        """A piece that json-file made longer, by three bytes for each that was not UTF-8, is one line."""
        long = Piece(NOW, b"stdout", "\ufffd".encode() + b"x" * COPIER_BUFFER, False)
        rest = Piece(NOW, b"stdout", b"rest\r")
        data = _message(long) + _message(rest)
        self.assertEqual(_fed(TerminalMessages(), data, [20000]), long.line + rest.line)

    def test_engine_words(self) -> None:
        """A text without a time is an error text of the engine."""
        with self.assertRaisesRegex(EngineErrorText, "grabbing"):
            TerminalMessages().receive_data(b"Error grabbing logs: the file is gone for good\n")
