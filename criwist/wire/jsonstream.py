"""JSON objects one after another in a byte stream, as the engine's ``/events`` and ``/images/create`` send them.

The Engine API promises objects, not lines: engines end each with CR LF or LF today, and a proxy may drop both.  So
an object ends where its outermost brace closes.  :class:`JSONObjects` scans the bytes once, stopping only at quotes,
braces and brackets, however the stream is cut into reads.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

#: A progress message or an event is below 10 KiB; an object this long is an error of the peer, and buffering more of
#: it would let the peer fill this process's memory.
MAX_OBJECT = 4 << 20

_OUTSIDE = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'["\\]')
_BLANKS = re.compile(rb"[ \t\r\n]+")
_OPENING = ord("{")


class JSONStreamError(ValueError):
    """The peer's bytes are not a sequence of JSON objects, or one object is too long."""


class JSONObjects:
    """Splits bytes into JSON objects.  After an error every further call raises."""

    def __init__(self, limit: int = MAX_OBJECT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        #: The position of the scan, whether it is inside a string, and the number of open braces.
        self._position = 0
        self._in_string = False
        self._depth = 0
        self._broken = ""

    @property
    def pending(self) -> bool:
        """Return whether an object has begun and not ended: at the end of the stream, it was cut off."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> list[dict[str, Any]]:
        """Return the objects that *data* completes, in order.

        :raises JSONStreamError: objects that were complete before the error came with earlier calls or are lost.
        """
        if self._broken:
            raise JSONStreamError(self._broken)
        self._buffer += data
        objects = []
        while (end := self._end_of_object()) is not None:
            objects.append(self._decode(bytes(self._buffer[:end])))
            del self._buffer[:end]
            self._position = 0
        if len(self._buffer) > self._limit:
            self._fail(f"an object is longer than {self._limit} bytes")
        return objects

    def _end_of_object(self) -> int | None:
        buffer = self._buffer
        if self._depth == 0:
            self._skip_blanks()
        while match := (_STRING if self._in_string else _OUTSIDE).search(buffer, self._position):
            mark = match.group()
            self._position = match.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"\\":
                if self._position == len(buffer):
                    # The escaped byte comes with the next read, which scans the backslash again.
                    self._position -= 1
                    return None
                self._position += 1
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return self._position
        self._position = len(buffer)
        return None

    def _skip_blanks(self) -> None:
        if match := _BLANKS.match(self._buffer):
            del self._buffer[: match.end()]
            self._position = 0
        if self._buffer and self._buffer[0] != _OPENING:
            self._fail(f"an object was expected, not {bytes(self._buffer[:40])!r}")

    def _decode(self, text: bytes) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._fail(f"{text[:40]!r}…: {error}")
        if not isinstance(value, dict):  # pragma: no cover - JSON that begins with a brace is an object
            self._fail(f"an object was expected, not {text[:40]!r}")
        return value

    def _fail(self, why: str) -> NoReturn:
        self._broken = why
        self._buffer.clear()
        raise JSONStreamError(why)
