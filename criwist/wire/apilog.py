"""What the engine's log API sends, converted to CRI lines.

With ``timestamps=1`` the answer to ``GET /containers/{id}/logs`` is a sequence of messages, each a time with nine
digits, a space, and what the log driver kept of a piece of output, with its newline if it had one.  Without a terminal
each message is a stdcopy frame of its own, so that pieces that no newline ended can be told apart.  The driver may have
lost the newline of the last piece of a line that was cut: a piece that follows one that filled the copier's buffer, and
does not fill it, is taken for that.

With a terminal there are no frames.  A message then ends at its newline.  The pieces of a long line have none: the
first ends behind as many bytes as the copier's buffer holds, the others where a time and a space follow, which is taken
for the beginning of the next.  Should the terminal have shown such a time itself, just there, it is lost.
"""

from __future__ import annotations

import re
from typing import Final

from criwist.wire.crilog import COPIER_BUFFER, TIME_LENGTH, fills_buffer
from criwist.wire.stdcopy import HEADER_LENGTH, StdcopyError, Stream

#: Between the time and the content of a line, but for the tag, by the four bytes that a frame begins with.
_STREAMS: Final = {bytes((Stream.STDOUT, 0, 0, 0)): b" stdout ", bytes((Stream.STDERR, 0, 0, 0)): b" stderr "}
#: No message is longer: a piece, of which json-file makes three bytes of one, and a time.
_MOST: Final = 1 << 20
_NEWLINE: Final = ord("\n")
_PREFIX_LENGTH: Final = TIME_LENGTH + 1
_PREFIX: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


class EngineWords(Exception):
    """The engine, having begun to send a log, sends words of its own instead of more: ``Error grabbing logs: …``."""


class Messages:
    """The messages of one container without a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        #: Streams whose last piece goes on.
        self._going_on: set[bytes] = set()

    def receive_data(self, data: bytes) -> list[bytes]:
        """The CRI lines that *data* makes whole.

        :raises EngineWords: in place of the lines before, which come first, from a call with no data.
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
                    raise EngineWords(buffer[start:stop].decode("utf-8", "replace").strip())
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
        """The tag of a piece that no newline ended."""
        if fills_buffer(length):
            self._going_on.add(stream)
        elif stream in self._going_on:
            self._going_on.discard(stream)
            return b"F "
        return b"P "

    def end(self) -> list[bytes]:
        """The stream has ended: the lines that were waiting for more.  A frame that is not whole is dropped."""
        return self.receive_data(b"")


def _begins_with_time(buffer: bytes, start: int) -> bool:
    """Whether a time and a space are there, as far as their marks tell: words of the engine's are told from a log."""
    return buffer[start + 10 : start + 20 : 9] == b"T." and buffer[start + TIME_LENGTH - 1 : start + 31] == b"Z "


class TerminalMessages:
    """The messages of one container with a terminal."""

    def __init__(self) -> None:
        self._rest = b""
        #: The time of the piece before, if that goes on.
        self._going_on = b""

    def receive_data(self, data: bytes) -> list[bytes]:
        """The CRI lines that *data* makes whole.

        :raises EngineWords: as :meth:`Messages.receive_data`.
        """
        return self._lines(self._rest + data, ended=False)

    def end(self) -> list[bytes]:
        """The stream has ended: the last line, if it has no newline."""
        return self._lines(self._rest, ended=True)

    def _lines(self, buffer: bytes, *, ended: bool) -> list[bytes]:
        lines: list[bytes] = []
        position = 0
        while position + _PREFIX_LENGTH <= len(buffer):
            content = position + _PREFIX_LENGTH
            if not _PREFIX.match(buffer, position):
                if not lines:
                    raise EngineWords(buffer[position : position + 200].decode("utf-8", "replace").strip())
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
        """Where the message that has its content at *content* ends; -1 if that is not known yet."""
        full = content + COPIER_BUFFER
        newline = buffer.find(b"\n", content, full + 1)
        goes_on = time == self._going_on
        if newline >= 0 and not goes_on:
            return newline + 1
        # Without a newline it ends where the next one begins: behind a full buffer, or, being the last piece of a line
        # whose newline the driver has lost, before that.
        following = _PREFIX.search(buffer, content if goes_on else full)
        if newline < 0:
            newline = buffer.find(b"\n", full)
        ends = [newline + 1] if newline >= 0 else []
        if following is not None:
            ends.append(following.start())
        if ends:
            return min(ends)
        return len(buffer) if ended or len(buffer) - content > _MOST else -1
