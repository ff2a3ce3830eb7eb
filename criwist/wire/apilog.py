"""Responses of the engine's log API, converted to CRI lines.

With ``timestamps=1`` the response to ``GET /containers/{id}/logs`` is a sequence of messages, each a time with nine
digits, a space, and the piece of output that the log driver stored, with its newline if it had one.  Without a terminal
each message is a stdcopy frame of its own, which separates pieces that no newline ended.  The driver may have lost the
newline of the last piece of a line that was cut: a piece that follows one that filled the copier's buffer, and does not
fill it, counts as that last piece.

With a terminal there are no frames.  A message then ends at its newline.  The pieces of a long line have none: the
first ends after as many bytes as the copier's buffer holds, the others where a time and a space follow, which count as
the beginning of the next.  If the terminal itself showed such a time, just there, it is lost.
"""

from __future__ import annotations

import re
from typing import Final

from criwist.wire.crilog import COPIER_BUFFER, TIME_LENGTH, fills_buffer
from criwist.wire.stdcopy import HEADER_LENGTH, StdcopyError, Stream

#: The text between the time and the tag of a line, by the four bytes that a frame begins with.
_STREAMS: Final = {bytes((Stream.STDOUT, 0, 0, 0)): b" stdout ", bytes((Stream.STDERR, 0, 0, 0)): b" stderr "}
#: No message is longer: a piece, of which json-file makes three bytes of one, and a time.
_MOST: Final = 1 << 20
_NEWLINE: Final = ord("\n")
_PREFIX_LENGTH: Final = TIME_LENGTH + 1
_PREFIX: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


class EngineErrorText(Exception):
    """The engine, having begun to send a log, sends an error text instead of more: ``Error grabbing logs: …``."""


class Messages:
    """Converts the messages of one container without a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        #: Streams whose line continues after the last piece.
        self._going_on: set[bytes] = set()

    def receive_data(self, data: bytes) -> list[bytes]:
        """Return the CRI lines that *data* completes.

        :raises EngineErrorText: in place of the lines before it, which a call with no data returns first.
        :raises StdcopyError: the bytes are no frames.
        """
        buffer = self._rest + data if self._rest else data
        lines: list[bytes] = []
        position, end = 0, len(buffer)
        while position + HEADER_LENGTH <= end:
            start = position + HEADER_LENGTH
            size = int.from_bytes(buffer[position + 4 : start], "big")
            if size > _MOST:
                raise StdcopyError(f"a frame of {size} bytes in a log")
            stop = start + size
            if stop > end:
                break
            content = start + _PREFIX_LENGTH
            stream = _STREAMS.get(buffer[position : position + 4])
            if stream is None or size < _PREFIX_LENGTH or not _begins_with_time(buffer, start):
                if not lines:
                    raise EngineErrorText(buffer[start:stop].decode("utf-8", "replace").strip())
                break
            if size > _PREFIX_LENGTH and buffer[stop - 1] == _NEWLINE:
                lines.append(buffer[start : content - 1] + stream + b"F " + buffer[content:stop])
                if self._going_on:
                    self._going_on.discard(stream)
            else:
                tag = self._tag(stream, stop - content)
                lines.append(buffer[start : content - 1] + stream + tag + buffer[content:stop] + b"\n")
            position = stop
        self._rest = buffer[position:]
        return lines

    def _tag(self, stream: bytes, length: int) -> bytes:
        """Return the tag of a piece that no newline ended."""
        if fills_buffer(length):
            self._going_on.add(stream)
        elif stream in self._going_on:
            self._going_on.discard(stream)
            return b"F "
        return b"P "

    def end(self) -> list[bytes]:
        """Return the incomplete lines at the end of the stream.  Drops a frame that is not whole."""
        return self.receive_data(b"")


def _begins_with_time(buffer: bytes, start: int) -> bool:
    """Whether the punctuation of a time and a space is there, which an error text of the engine does not have."""
    return buffer[start + 10 : start + 20 : 9] == b"T." and buffer[start + TIME_LENGTH - 1 : start + 31] == b"Z "


class TerminalMessages:
    """Converts the messages of one container with a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        #: The time of the piece before, if its line continues.
        self._going_on = b""

    def receive_data(self, data: bytes) -> list[bytes]:
        """Return the CRI lines that *data* completes.

        :raises EngineErrorText: as :meth:`Messages.receive_data`.
        """
        return self._lines(self._rest + data, ended=False)

    def end(self) -> list[bytes]:
        """Return the last line at the end of the stream, if it has no newline."""
        return self._lines(self._rest, ended=True)

    def _lines(self, buffer: bytes, *, ended: bool) -> list[bytes]:
        lines: list[bytes] = []
        position = 0
        while position + _PREFIX_LENGTH <= len(buffer):
            content = position + _PREFIX_LENGTH
            if not _PREFIX.match(buffer, position):
                if not lines:
                    raise EngineErrorText(buffer[position : position + 200].decode("utf-8", "replace").strip())
                break
            time = buffer[position : content - 1]
            stop = self._end_of_message(buffer, content, time, ended=ended)
            if stop < 0:
                break
            text = buffer[content:stop]
            cut = not text.endswith(b"\n")
            partial = cut and (fills_buffer(len(text)) or time != self._going_on)
            self._going_on = time if partial else b""
            lines.append(time + (b" stdout P " if partial else b" stdout F ") + text.removesuffix(b"\n") + b"\n")
            position = stop
        self._rest = buffer[position:]
        return lines

    def _end_of_message(self, buffer: bytes, content: int, time: bytes, *, ended: bool) -> int:
        """Return the end of the message whose content begins at *content*; -1 if it is not known yet."""
        full = content + COPIER_BUFFER
        newline = buffer.find(b"\n", content, full + 1)
        goes_on = time == self._going_on
        if newline >= 0 and not goes_on:
            return newline + 1
        # Without a newline it ends where the next one begins: after a full buffer, or earlier if it is the last piece
        # of a line whose newline the driver has lost.
        following = _PREFIX.search(buffer, content if goes_on else full)
        if newline < 0:
            newline = buffer.find(b"\n", full)
        ends = [newline + 1] if newline >= 0 else []
        if following is not None:
            ends.append(following.start())
        if ends:
            return min(ends)
        return len(buffer) if ended or len(buffer) - content > _MOST else -1
