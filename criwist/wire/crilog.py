"""The CRI log format, which kubelet, ``crictl logs`` and log agents read in ``/var/log/pods``.

A line is ``TIME STREAM TAG CONTENT`` and a newline: an RFC 3339 time with nanoseconds, ``stdout`` or ``stderr``, ``F``
for the last or only part of a line of the container and ``P`` for the parts before, then the bytes unchanged, without
a newline (Kubernetes, "CRI container logs": *log format*).

Docker cuts a container's output at newlines and at 16 KiB.  A piece that no newline ended gets the tag P here, in the
middle of a line as well as at the end of the output.  Some drivers lose the newline of the last piece of a line that
was cut; :func:`fills_buffer` finds that piece, as Docker cuts only when its buffer is full.

Times have nine digits, whatever the source: equal entries then are equal lines, byte for byte.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

#: The buffer that Docker's copier fills from a container's pipe.
COPIER_BUFFER: Final = 16 << 10
#: Bytes of a time as criwist writes it: ``2023-11-23T13:43:00.123456789Z``.
TIME_LENGTH: Final = 30

_NANOSECOND: Final = 10**9
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_STREAMS: Final = (b"stdout", b"stderr")


class MalformedLine(ValueError):
    """The bytes are not a line of a CRI log, or not the time of one."""


class Line(NamedTuple):
    """One line, without its newline."""

    time: bytes
    #: ``stdout`` or ``stderr``.
    stream: bytes
    partial: bool
    content: bytes


class Converted(NamedTuple):
    """The CRI lines of a part of a log in another format."""

    #: Whole CRI lines.
    output: bytes
    #: Bytes of the input that the lines stand for, up to the end of an entry.
    consumed: int
    #: Places where the input was damaged and a part was left out.
    broken: int = 0


def fills_buffer(content_length: int) -> bool:
    """Return whether Docker may have cut a piece of this length off the rest of its line.

    A shorter piece was not cut: a newline ended it, or the stream did.  A piece may be longer than the buffer, because
    json-file makes three bytes of each that is not UTF-8.
    """
    return content_length >= COPIER_BUFFER


def encode(line: Line) -> bytes:
    """Return the line as the file has it, with its newline.

    :raises MalformedLine: a reader would not get the same line back.
    """
    if line.stream not in _STREAMS or b"\n" in line.content or not _TIME.fullmatch(line.time):
        raise MalformedLine(f"not a line of a log: {line!r:.200}")
    return b"%b %b %b %b\n" % (line.time, line.stream, b"P" if line.partial else b"F", line.content)


def parse(raw: bytes) -> Line:
    """Parse a line with its newline.

    :raises MalformedLine: *raw* is not one line.
    """
    parts = raw.split(b" ", 3)
    if len(parts) != 4 or not raw.endswith(b"\n") or raw.find(b"\n") != len(raw) - 1:
        raise MalformedLine(f"no line of a log: {raw[:200]!r}")
    time, stream, tags, content = parts
    # Tags are a list with colons between them.  The first is P or F; the others are for extensions.
    tag = tags.partition(b":")[0]
    if stream not in _STREAMS or tag not in (b"P", b"F") or not _TIME.fullmatch(time):
        raise MalformedLine(f"no line of a log: {raw[:200]!r}")
    return Line(time, stream, tag == b"P", content[:-1])


def nanoseconds(time: bytes) -> int:
    """Return an RFC 3339 time as nanoseconds since the epoch.

    :raises MalformedLine: *time* is not one.
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
    """Return nanoseconds since the epoch as an RFC 3339 time in UTC, with nine digits."""
    seconds, fraction = divmod(moment, _NANOSECOND)
    return b"%b.%09dZ" % (second_text(seconds), fraction)


def second_text(seconds: int) -> bytes:
    """Return seconds since the epoch as a time without fraction and zone: ``2023-11-23T13:43:00``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")


def nine_digits(time: bytes) -> bytes:
    """Return an RFC 3339 time in UTC with nine digits: Docker's JSON omits zeros at the end of the fraction.

    :raises MalformedLine: *time* is not one.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise MalformedLine(f"no time of a log: {time[:60]!r}")
    whole, fraction, zone = match.groups()
    if zone != b"Z":
        return time_text(nanoseconds(time))
    return b"%b.%bZ" % (whole, (fraction or b"").ljust(9, b"0"))
