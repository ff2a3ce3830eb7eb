"""The CRI log format: what kubelet, ``crictl logs`` and log agents read in ``/var/log/pods``.

A line is ``TIME STREAM TAG CONTENT`` and a newline: an RFC 3339 time with nanoseconds, ``stdout`` or ``stderr``, ``F``
for the last or only part of what the container wrote as one line and ``P`` for the parts before, then the bytes as
they were, which hold no newline (Kubernetes, "CRI container logs": *log format*).

Docker cuts what a container writes at newlines and at 16 KiB, and a piece that no newline ended is tagged P here, be it
in the middle of a line or the last that the container wrote.  Some drivers lose the newline of the last piece of a line
that was cut; it is told from the others by :func:`fills_buffer`, as Docker cuts only when its buffer is full.

Times are written with nine digits, whatever the source: equal entries then are equal lines, byte for byte.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

#: The buffer that Docker's copier fills from a container's pipe.
COPIER_BUFFER: Final = 16 << 10
#: Bytes of a time as we write it: ``2023-11-23T13:43:00.123456789Z``.
TIME_LENGTH: Final = 30

_NANOSECOND: Final = 10**9
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_STREAMS: Final = (b"stdout", b"stderr")


class MalformedLine(ValueError):
    """The bytes are no line of a CRI log, or no time of one."""


class Line(NamedTuple):
    """One line, without its newline."""

    time: bytes
    #: ``stdout`` or ``stderr``.
    stream: bytes
    partial: bool
    content: bytes


class Converted(NamedTuple):
    """What became of a part of a log in another form."""

    #: Whole CRI lines.
    output: bytes
    #: How many bytes of the input these are, up to the end of an entry.
    consumed: int
    #: Places where the input was damaged and something was left out.
    broken: int = 0


def fills_buffer(content_length: int) -> bool:
    """Whether a piece of this length may have been cut off the rest of its line.

    One that is shorter was not: a newline ended it, or the stream did.  It may be longer than the buffer, because
    json-file makes three bytes of each that is not UTF-8.
    """
    return content_length >= COPIER_BUFFER


def encode(line: Line) -> bytes:
    """The line as it is in the file, with its newline.

    :raises MalformedLine: no reader could make the same of it.
    """
    if line.stream not in _STREAMS or b"\n" in line.content or not _TIME.fullmatch(line.time):
        raise MalformedLine(f"this cannot be a line of a log: {line!r:.200}")
    return b"%b %b %b %b\n" % (line.time, line.stream, b"P" if line.partial else b"F", line.content)


def parse(raw: bytes) -> Line:
    """The line that *raw* is, its newline included.

    :raises MalformedLine: it is none.
    """
    parts = raw.split(b" ", 3)
    if len(parts) != 4 or not raw.endswith(b"\n") or raw.find(b"\n") != len(raw) - 1:
        raise MalformedLine(f"no line of a log: {raw[:200]!r}")
    time, stream, tags, content = parts
    # Tags are a list parted by colons, of which the first is P or F; the others are for extensions.
    tag = tags.partition(b":")[0]
    if stream not in _STREAMS or tag not in (b"P", b"F") or not _TIME.fullmatch(time):
        raise MalformedLine(f"no line of a log: {raw[:200]!r}")
    return Line(time, stream, tag == b"P", content[:-1])


def nanoseconds(time: bytes) -> int:
    """An RFC 3339 time as nanoseconds since the epoch.

    :raises MalformedLine: it is none.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise MalformedLine(f"no time of a log: {time[:60]!r}")
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat((whole + zone).decode("ascii"))
    except ValueError as error:
        raise MalformedLine(f"no time of a log: {time!r}: {error}") from error
    # Whole seconds of this size are exact in a float.
    return int(moment.timestamp()) * _NANOSECOND + int((fraction or b"").ljust(9, b"0"))


def time_text(moment: int) -> bytes:
    """Nanoseconds since the epoch as an RFC 3339 time in UTC, with nine digits."""
    seconds, fraction = divmod(moment, _NANOSECOND)
    return b"%b.%09dZ" % (second_text(seconds), fraction)


def second_text(seconds: int) -> bytes:
    """Seconds since the epoch, up to where the fraction would begin: ``2023-11-23T13:43:00``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")


def nine_digits(time: bytes) -> bytes:
    """An RFC 3339 time in UTC with its fraction filled up to nine digits, as Docker's JSON leaves zeros at the end out.

    :raises MalformedLine: it is none.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise MalformedLine(f"no time of a log: {time[:60]!r}")
    whole, fraction, zone = match.groups()
    if zone != b"Z":
        return time_text(nanoseconds(time))
    return b"%b.%bZ" % (whole, (fraction or b"").ljust(9, b"0"))
