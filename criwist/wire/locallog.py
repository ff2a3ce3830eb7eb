"""Docker's ``local`` log format, converted to CRI lines.

Two files have this format: the log of the ``local`` driver, and the engine's local copy of a log that it sends to a
driver that cannot be read back ("dual logging").  An entry is its length in 32 bits big endian, a protobuf message, and
the length again.  The message (moby, ``entry.proto``): 1 stream, 2 nanoseconds since the epoch, 3 the bytes without
their newline, 4 whether a newline was missing, 5 the piece's place in its line: 1 whether it is the last, 2 an id, 3
its number.  Engines up to 20.10 at least set field 4 for the last piece of a cut line as well, and mark none as the
last: a piece that does not fill the copier's buffer ends its line then, unless it is the first, which only the end of
the stream leaves without a newline.

The bytes are the container's output unchanged, UTF-8 or not.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Final

from criwist.wire.crilog import Converted, fills_buffer, second_text

_LENGTH: Final = 4
#: A message is 16 KiB of content and a few dozen bytes; the engine itself refuses to read longer ones than this.
MAX_MESSAGE: Final = 1_000_000
#: A message begins with its stream, as Go writes fields in order, and always has a time.
_BEGINNINGS: Final = {b"\n\x06stdout\x10": b"Z stdout F ", b"\n\x06stderr\x10": b"Z stderr F "}
#: The text in its place for a piece whose line continues.
_CUT: Final = {stream: stream.replace(b"F", b"P") for stream in _BEGINNINGS.values()}
_BEGINNING: Final = re.compile(rb"\n\x06std(?:out|err)\x10")
#: Length, beginning, and the nine bytes that the varint of a time of this era has: the lowest three change with every
#: entry, the others every two milliseconds.
_HEADER: Final = Struct(">I9s3B6s")
_TRAILER: Final = Struct(">I")
#: The end of one entry and the beginning of the next.
_TRAILER_AND_HEADER: Final = Struct(">II9s3B6s")
_CONTENT_KEY: Final = 0x1A
_PARTIAL_KEY: Final = 0x20
#: In field 5: its beginning if the piece is the last, and its end if it is the first.
_LAST: Final = b"\x08\x01"
_FIRST: Final = b"\x18\x01"
_NANOSECOND: Final = 10**9


class _Damage(Exception):
    """There is no entry at this position."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def decode(data: bytes) -> Converted:
    """Convert the whole entries at the beginning of *data*.

    After damaged bytes, it continues at the next place that looks like an entry.
    """
    parts: list[bytes | memoryview] = []
    position = broken = 0
    while True:
        try:
            position = _convert(data, position, parts)
        except _Damage as damage:
            broken += 1
            position = _next_entry(data, damage.position)
        else:
            break
    if parts:
        # Each line has begun with the newline of the one before.
        parts[0] = parts[0][1:]
        parts.append(b"\n")
    return Converted(b"".join(parts), position, broken)


def first_entry_length(data: bytes) -> int:
    """Return the length of the entry that *data* begins with; 0 if it is not whole."""
    if len(data) < _LENGTH:
        return 0
    length = int.from_bytes(data[:_LENGTH], "big") + 2 * _LENGTH
    return length if len(data) >= length else 0


def _convert(data: bytes, position: int, parts: list[bytes | memoryview]) -> int:
    """Add the lines from *position* on to *parts*, each with a newline before it; return the end of the whole entries.

    :raises _Damage: after the lines before it are added.
    """
    end = len(data)
    streams, trailer_and_header = _BEGINNINGS.get, _TRAILER_AND_HEADER.unpack_from
    base = second = trailer = 0
    known = text = b""
    if position + _HEADER.size > end:
        return position
    size, beginning, low, middle, high, slow = _HEADER.unpack_from(data, position)
    while True:
        stream = streams(beginning)
        stop = position + _LENGTH + size
        if stream is None or size > MAX_MESSAGE or not low & middle & high & 0x80:
            raise _Damage(position)
        if stop + _LENGTH > end:
            return position
        if slow != known:
            known, base = slow, _slow_part(slow, position)
        moment = base + low + (middle << 7) + (high << 14)
        fraction = moment - second
        if not 0 <= fraction < _NANOSECOND:
            seconds, fraction = divmod(moment, _NANOSECOND)
            second, text = moment - fraction, b"\n" + second_text(seconds) + b"."
        following = -1
        if stop + _TRAILER_AND_HEADER.size <= end:
            trailer, following, beginning, low, middle, high, slow = trailer_and_header(data, stop)
        else:
            (trailer,) = _TRAILER.unpack_from(data, stop)
        if trailer != size:
            raise _Damage(position)
        start = position + _HEADER.size
        if start == stop:
            parts += (text, b"%09d" % fraction, stream)
        elif data[start] == _CONTENT_KEY and data[start + 1] == stop - start - 2 < 0x80:
            parts += (text, b"%09d" % fraction, stream, data[start + 2 : stop])
        elif data[start] == _CONTENT_KEY and 0x80 <= data[start + 1] == stop - start + 0x7D - (data[start + 2] << 7):
            # A length of two bytes: the highest bit of the first is set.
            parts += (text, b"%09d" % fraction, stream, data[start + 3 : stop])
        else:
            content, is_cut = _long_content(data, start, stop, position)
            parts += (text, b"%09d" % fraction, _CUT[stream] if is_cut else stream, content)
        position = stop + _LENGTH
        if following < 0:
            return position
        size = following


def _slow_part(slow: bytes, position: int) -> int:
    """The value that the upper six bytes of a time add to the lower three, read with their continuation bits."""
    value = 0
    for byte in reversed(slow):
        value = value << 7 | byte & 0x7F
    if slow[-1] & 0x80 or value >> (62 - 3 * 7):
        raise _Damage(position)
    return (value << 3 * 7) - (0x80 | 0x80 << 7 | 0x80 << 14)


def _long_content(data: bytes, start: int, stop: int, position: int) -> tuple[memoryview, bool]:
    """The long or cut content from *start* on of the message that ends at *stop*; and whether its line continues."""
    content = memoryview(b"")
    if data[start] == _CONTENT_KEY:
        length = shift = 0
        for byte in data[start + 1 : stop]:
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        start += 1 + shift // 7 + length
        content = memoryview(data)[start - length : start]
    if start > stop:
        raise _Damage(position)
    cut = start < stop and data[start] == _PARTIAL_KEY
    place = data[start + 4 : stop]
    goes_on = fills_buffer(len(content)) or place.endswith(_FIRST)
    return content, cut and goes_on and not place.startswith(_LAST)


def _next_entry(data: bytes, position: int) -> int:
    """The beginning of the next entry after a damaged one; the end of *data* if there is none."""
    for match in _BEGINNING.finditer(data, position + _LENGTH + 1):
        start = match.start() - _LENGTH
        size = int.from_bytes(data[start : start + _LENGTH], "big")
        if size <= MAX_MESSAGE and data[start + _LENGTH + size :][:_LENGTH] in (data[start : start + _LENGTH], b""):
            return start
    return len(data)
