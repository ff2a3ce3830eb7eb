r"""Docker's json-file log, converted to CRI lines.

An entry is a line ``{"log":"CONTENT","stream":"stdout","time":"TIME"}``, with ``"attrs":{...}`` before the time if the
daemon is configured to add labels.  CONTENT is a JSON string whose ``\n`` at the end is the newline that the container
wrote; control characters, ``<>&`` and U+2028 are escaped, and the daemon has replaced each byte that is not UTF-8 by
U+FFFD, so those bytes are lost.  Entries of one line that was cut share the time of its first piece.  An entry with a
newline ends a line: tag F, else P.

The conversion of a flood must cost a fraction of the daemon's work for writing it, so whatever can be done for all
lines at once is not done for each line:

1. The text is split where a line begins, and each piece is put in order: time, stream, tag, content.  Nine times out
   of ten the last 60 bytes of a piece are known but for the time.
2. Attributes, which are the same in all entries of a container, are taken out before that.
3. Quotes are counted.  Twelve to each line, the escaped ones aside, means that every line has the plain form above:
   damaged lines take the slow way, a JSON decoder for each line.
4. Backslashes are counted.  If there are no more than newlines at ends, that is all.
5. Otherwise, escaped backslashes first become the byte 0xFF, which UTF-8 does not have: from there on a backslash and
   the byte after it always are one escape.  The lines are put in order and joined, and the whole is unescaped by
   replacing one kind of escape after the other.

For long lines it is the other way round: the work for each line is small, the work for each byte counts, and memchr(3)
does it.
"""

from __future__ import annotations

import json
import re
from typing import Final

from criwist.wire.crilog import TIME_LENGTH, Converted, Line, MalformedLine, encode, nine_digits

_HEAD: Final = b'{"log":"'
_FOOT: Final = b'Z"}\n'
#: The text between the content of one line and that of the next, with the latter's time before it.
_BETWEEN: Final = b'"}\n' + _HEAD
_QUOTES: Final = 12
_TIME_KEY: Final = b'","time":"'
_STREAM_KEY: Final = b'","stream":"'
_ATTRIBUTES_KEY: Final = b'","attrs":{'
_NEWLINE: Final = b"\\n"
_STREAM_LENGTH: Final = len(b"stdout")

#: The text between content and time of a line that a newline ended, and its replacement between time and content.
_MIDDLES: Final = {
    _NEWLINE + _STREAM_KEY + stream + _TIME_KEY: b" " + stream + b" F " for stream in (b"stdout", b"stderr")
}
_MIDDLE_START: Final = -TIME_LENGTH - len(next(iter(_MIDDLES)))
#: The same for a line that no newline ended.
_CUT_MIDDLES: Final = {_STREAM_KEY + stream + _TIME_KEY: b" " + stream + b" P " for stream in (b"stdout", b"stderr")}
_CUT_MIDDLE_START: Final = _MIDDLE_START + len(_NEWLINE)
_CUT_MIDDLE_LENGTH: Final = len(next(iter(_CUT_MIDDLES)))
#: Lines of at least this length are long.
_LONG: Final = 1000

_BACKSLASH: Final = b"\xff"
#: The escapes that are common in logs, the most common first.
_REPLACEMENTS: Final = (
    (b'\\"', b'"'),
    (b"\\u0009", b"\t"),
    (b"\\t", b"\t"),
    (b"\\u003c", b"<"),
    (b"\\u003e", b">"),
    (b"\\u0026", b"&"),
    (b"\\u001b", b"\x1b"),
    (b"\\r", b"\r"),
    (b"\\ufffd", "\ufffd".encode()),
)
#: Any escape; those of two halves of a surrogate pair stay together.
_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\.", re.DOTALL)


class _Irregular(Exception):
    """The lines are not all of the plain form."""


def decode(data: bytes) -> Converted:
    """Convert the whole entries at the beginning of *data*.

    An entry becomes one line.  Of a damaged entry (the daemon was killed while it wrote) the readable part is kept.
    """
    end = data.rfind(b"\n") + 1
    if not end:
        return Converted(b"", 0)
    first = data.find(b"\n") + 1
    convert = _convert_long if first > _LONG else _convert
    attributes = _attributes(data, first)
    try:
        if attributes:
            plain = data[:end].replace(attributes + _TIME_KEY[1:], _TIME_KEY)
            return Converted(convert(plain, len(plain)), end)
        return Converted(convert(data, end), end)
    except _Irregular:
        return _convert_each(data[:end])


def first_entry_length(data: bytes) -> int:
    """Return the length of the entry that *data* begins with; 0 if it is not whole."""
    return data.find(b"\n") + 1


# -- All lines at once


def _attributes(data: bytes, end: int) -> bytes:
    """The attributes of the entry that ends at *end*, with the quote before them; empty if it has none.

    All entries of a container have the same attributes.  Quotes within them are escaped, and no attribute is an object,
    so the attributes can be in one place only.
    """
    start = data.find(_ATTRIBUTES_KEY, 0, end)
    stop = data.find(b"}" + _TIME_KEY[1:], start, end)
    return data[start : stop + 1] if start >= 0 and stop >= 0 else b""


def _convert(data: bytes, end: int) -> bytes:
    if not (data.startswith(_HEAD) and data.endswith(_FOOT, 0, end)):
        raise _Irregular
    pieces = data[len(_HEAD) : end - 3].split(_BETWEEN)
    quotes = data.count(b'"', 0, end) - _QUOTES * len(pieces)
    escapes = data.count(b"\\", 0, end)
    if escapes <= len(pieces):
        parts, ended = _in_order(pieces)
        if ended == escapes:
            # There are no escapes but the newlines at the ends.
            if quotes:
                raise _Irregular
            return b"".join(parts)
    return _convert_escaped(data[:end], quotes)


def _convert_escaped(entries: bytes, quotes: int) -> bytes:
    """Lines of which some have escapes in their content; *quotes* is the number of escapes that should be quotes."""
    backslashes = b"\\\\" in entries
    if backslashes:
        if _BACKSLASH in entries:
            raise _Irregular
        entries = entries.replace(b"\\\\", _BACKSLASH)
    if entries.count(b'\\"') != quotes:
        raise _Irregular
    parts, _ = _in_order(entries[len(_HEAD) : -3].split(_BETWEEN))
    output = b"".join(parts)
    if b"\\" in output:
        output = _unescape(output)
    return output.replace(_BACKSLASH, b"\\") if backslashes else output


def _in_order(pieces: list[bytes]) -> tuple[list[bytes], int]:
    """The lines in parts, still escaped; and the number of lines that a newline ended."""
    middles = _MIDDLES.get
    parts: list[bytes] = []
    add = parts.extend
    cut = 0
    for piece in pieces:
        middle = middles(piece[_MIDDLE_START:-TIME_LENGTH])
        if middle is not None:
            add((piece[-TIME_LENGTH:], middle, piece[:_MIDDLE_START], b"\n"))
            continue
        # One time in ten ends in a zero, which Docker omits.
        middle = middles(piece[_MIDDLE_START + 1 : 1 - TIME_LENGTH])
        if middle is not None:
            add((piece[1 - TIME_LENGTH : -1], b"0Z", middle, piece[: _MIDDLE_START + 1], b"\n"))
            continue
        middle = _CUT_MIDDLES.get(piece[_CUT_MIDDLE_START:-TIME_LENGTH])
        if middle is not None and piece[_CUT_MIDDLE_START - 1 : _CUT_MIDDLE_START] != b"n":
            add((piece[-TIME_LENGTH:], middle, piece[:_CUT_MIDDLE_START], b"\n"))
            cut += 1
        else:
            line, ended = _uncommon(piece)
            parts.append(line)
            cut += not ended
    return parts, len(pieces) - cut


def _uncommon(piece: bytes) -> tuple[bytes, bool]:
    """A line whose time is shorter, or that no newline ended; and whether a newline ended it."""
    start = piece.rfind(_STREAM_KEY)
    middle = piece.rfind(_TIME_KEY)
    stream = piece[start + len(_STREAM_KEY) : middle]
    time = piece[middle + len(_TIME_KEY) :]
    if start < 0 or len(stream) != _STREAM_LENGTH or len(time) > TIME_LENGTH:
        raise _Irregular
    ended = piece.endswith(_NEWLINE, 0, start)
    content = piece[: start - len(_NEWLINE) if ended else start]
    try:
        return b"%b %b %b %b\n" % (nine_digits(time), stream, b"F" if ended else b"P", content), ended
    except MalformedLine:
        raise _Irregular from None


def _unescape(text: bytes) -> bytes:
    """*text* without JSON escapes, of which escaped backslashes are already gone."""
    for escape, meaning in _REPLACEMENTS:
        text = text.replace(escape, meaning)
        if b"\\" not in text:
            return text
    return _ESCAPES.sub(_meaning, text)


def _meaning(escape: re.Match[bytes]) -> bytes:
    try:
        meaning = json.loads(b'"%b"' % escape.group())
    except ValueError:
        raise _Irregular from None
    if "\n" in meaning:
        raise _Irregular
    return _utf8(meaning)


# -- Long lines


def _convert_long(data: bytes, end: int) -> bytes:
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    start = 0
    while start < end:
        newline = data.find(b"\n", start)
        content = start + len(_HEAD)
        time = data.rfind(b'"', start, newline - 2) + 1
        stop = time - _CUT_MIDDLE_LENGTH
        middles = _CUT_MIDDLES
        if data[stop - 2 : stop] == _NEWLINE:
            stop -= 2
            middles = _MIDDLES
        middle = middles.get(data[stop:time])
        if (
            middle is None
            or newline - 2 - time != TIME_LENGTH
            or data[newline - 2 : newline] != b'"}'
            or data[start:content] != _HEAD
            or data.find(b"\\", content, stop) >= 0
            or data.find(b'"', content, stop) >= 0
        ):
            parts.append(_convert(data[start : newline + 1], newline + 1 - start))
        else:
            parts += (view[time : newline - 2], middle, view[content:stop], b"\n")
        start = newline + 1
    return b"".join(parts)


# -- One line after the other


def _convert_each(entries: bytes) -> Converted:
    output = []
    broken = 0
    for entry in entries.split(b"\n")[:-1]:
        lines = _lines_of(entry)
        if lines is None:
            broken += 1
            lines = _salvage(entry)
        output += lines
    return Converted(b"".join(output), len(entries), broken)


def _lines_of(entry: bytes) -> list[bytes] | None:
    """The line of *entry*; several if it has newlines inside, which Docker does not write; None if it is damaged."""
    try:
        fields = json.loads(entry)
        text, stream, time = fields["log"], fields["stream"], fields["time"]
        content = _utf8(text)
        stream = stream.encode("ascii")
        time = nine_digits(time.encode("ascii"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    ended = content.endswith(b"\n")
    parts = (content[:-1] if ended else content).split(b"\n")
    last = len(parts) - 1
    try:
        return [encode(Line(time, stream, number == last and not ended, part)) for number, part in enumerate(parts)]
    except MalformedLine:
        return None


def _salvage(entry: bytes) -> list[bytes]:
    """The first whole entry on a line that begins with an unfinished entry."""
    start = entry.find(_HEAD, 1)
    while start > 0:
        lines = _lines_of(entry[start:])
        if lines is not None:
            return lines
        start = entry.find(_HEAD, start + 1)
    return []


def _utf8(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can spell and UTF-8 cannot, as U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")
