"""Entries that are damaged in rare ways: each costs its own line, and no other."""

from __future__ import annotations

import pytest

from criwist.wire import jsonlog, locallog
from criwist.wire.apilog import EngineErrorText, TerminalMessages
from criwist.wire.crilog import Converted, Line, MalformedLine, encode, nanoseconds, parse, time_text
from tests.logs.engine_formats import Piece, json_entry, local_entry

NOW = 1_700_000_000_123_456_789
WHOLE = Piece(NOW, b"stdout", b"whole")
TIME = b'"time":"2023-11-14T22:13:20.123456789Z"}\n'


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b'{"log":"a"b\\n","stream":"stdout",' + TIME, id="quote that is not escaped"),
        pytest.param(b'{"log":"\\qa\\n","stream":"stdout",' + TIME, id="escape that JSON does not have"),
        pytest.param(b'{"log":"\\\\\xff\\n","stream":"stdout",' + TIME, id="byte that is not UTF-8"),
        pytest.param(b'{"log":"a\\n","stream":"stdin",' + TIME, id="other stream"),
        pytest.param(b'{"log":"a\\n","stream":"stdout","time":"todayZ"}\n', id="time that is none"),
    ],
)
def test_json_entry(damaged: bytes) -> None:
    """An entry of json-file that is damaged is counted and left out; its neighbours become lines."""
    data = json_entry(WHOLE) + damaged + json_entry(WHOLE)
    assert jsonlog.decode(data) == Converted(WHOLE.line * 2, len(data), 1)
    assert jsonlog.decode(damaged) == Converted(b"", len(damaged), 1)


def local_message(message: bytes, trailer: int | None = None) -> bytes:
    """Return an entry of ``local`` around *message*; *trailer* takes the place of the length behind it."""
    length = len(message)
    return length.to_bytes(4, "big") + message + (length if trailer is None else trailer).to_bytes(4, "big")


_BEGINNING = local_entry(WHOLE)[4:22]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(local_message(local_entry(WHOLE)[4:-4], trailer=7), id="other length behind it"),
        pytest.param(local_message(b"\n\x06stdout\x10" + b"\xff" * 10 + b"\1"), id="time of ten bytes"),
        pytest.param(local_message(_BEGINNING + b"\x1a" + b"\x81" * 9), id="length of the content without an end"),
        pytest.param(local_message(_BEGINNING + b"\x1a\x81\x02abc"), id="content longer than the entry"),
    ],
)
def test_local_entry(damaged: bytes) -> None:
    """An entry of ``local`` that is damaged is counted and left out; its neighbours become lines."""
    data = local_entry(WHOLE) + damaged + local_entry(WHOLE)
    assert locallog.decode(data) == Converted(WHOLE.line * 2, len(data), 1)


def test_local_content_that_looks_like_an_entry() -> None:
    """Behind a damaged entry, bytes that only begin like an entry are passed over."""
    decoy = Piece(NOW, b"stdout", b"....\n\x06stdout\x10....")
    damaged = local_message(local_entry(decoy)[4:-4], trailer=7)
    data = damaged + local_entry(WHOLE)
    assert locallog.decode(data) == Converted(WHOLE.line, len(data), 1)


def test_engine_words_behind_a_line() -> None:
    """Words of the engine behind a terminal's lines are raised by the next call, after those lines."""
    messages = TerminalMessages()
    line = time_text(NOW) + b" whole\n"
    assert messages.receive_data(line + b"Error grabbing logs: something is wrong\n") == [WHOLE.line]
    with pytest.raises(EngineErrorText, match="something is wrong"):
        messages.end()


@pytest.mark.parametrize(
    "line",
    [
        Line(time_text(NOW), b"stdin", False, b"a"),
        Line(time_text(NOW), b"stdout", False, b"a\nb"),
        Line(b"today", b"stdout", False, b"a"),
    ],
)
def test_line_that_no_reader_understands(line: Line) -> None:
    """A line with another stream, a newline inside or a malformed time is not written."""
    with pytest.raises(MalformedLine):
        encode(line)


@pytest.mark.parametrize("raw", [b"\n", b"a b c d\n", b"2023-11-14T22:13:20Z stdout F whole", b"\n\n\n\n"])
def test_bytes_that_are_no_line(raw: bytes) -> None:
    """Bytes without a newline at the end, with another one, or without the four parts are no line."""
    with pytest.raises(MalformedLine):
        parse(raw)


def test_time_that_is_none() -> None:
    """A text that is no RFC 3339 time is refused."""
    with pytest.raises(MalformedLine, match="today"):
        nanoseconds(b"today")
