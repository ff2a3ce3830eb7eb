"""Splits a byte stream into SPDY frames, without buffering data.

The reader yields control frames whole.  It yields the payload of a data frame as it arrives, in views into the bytes
received: a frame of 16 MiB needs no buffer, and a gigabyte of data costs no copy here.  Between two reads it buffers a
partial head or a partial control frame only, which is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from criwist.wire.spdy_frames import HEAD_LENGTH, MAX_LENGTH, MAX_STREAM_ID

#: Payload bytes of a control frame.  The draft demands 8 KiB at least (2.2.1); the frames of the streaming
#: protocols have less than one.  A longer frame ends the session, so that no peer can make this process buffer 16 MiB.
MAX_CONTROL_LENGTH: Final = 64 << 10

_HEAD: Final = struct.Struct(">II")


class ControlTooLong(ValueError):
    """A control frame exceeds MAX_CONTROL_LENGTH."""


class RawControl(NamedTuple):
    """A whole control frame, its payload not yet parsed."""

    version: int
    type: int
    flags: int
    payload: bytes


class DataReceived(NamedTuple):
    """Payload of a data frame, all of it or a part.  An empty frame has empty payload."""

    stream_id: int
    #: A view into the bytes received; ``bytes(data)`` to keep it.
    data: memoryview
    #: The peer sends nothing after this on the stream.
    fin: bool


class FrameReader:
    """Splits one connection's incoming bytes."""

    def __init__(self) -> None:
        #: A head that is not whole, or a control frame that is not.
        self._kept = bytearray()
        self._left = 0
        self._stream_id = 0
        self._fin = False

    def receive_data(self, data: bytes) -> Iterator[RawControl | DataReceived]:
        """Yield the frames in *data*.  Consume them all before the next call.

        :raises ControlTooLong: after the frames before it.
        """
        view = memoryview(data)
        end = len(view)
        position = 0
        while position < end:
            if self._left:
                stop = min(position + self._left, end)
                self._left -= stop - position
                yield DataReceived(self._stream_id, view[position:stop], self._fin and not self._left)
                position = stop
            elif self._kept or end - position < HEAD_LENGTH:
                position, frame = self._complete(view, position)
                if frame is not None:
                    yield frame
            else:
                word, rest = _HEAD.unpack_from(view, position)
                if word <= MAX_STREAM_ID:
                    position += HEAD_LENGTH
                    empty = self._begin_data(word, rest)
                    if empty is not None:
                        yield empty
                    continue
                stop = position + HEAD_LENGTH + _control_length(rest)
                if stop > end:
                    self._kept += view[position:]
                    return
                yield _control(word, rest, bytes(view[position + HEAD_LENGTH : stop]))
                position = stop

    def _complete(self, view: memoryview, position: int) -> tuple[int, RawControl | DataReceived | None]:
        """Add the missing bytes to the buffered frame; return the position after them, and the frame if it is whole."""
        kept = self._kept
        missing = HEAD_LENGTH - len(kept)
        if missing > 0:
            kept += view[position : position + missing]
            position = min(position + missing, len(view))
            if len(kept) < HEAD_LENGTH:
                return position, None
        word, rest = _HEAD.unpack_from(kept)
        if word <= MAX_STREAM_ID:
            kept.clear()
            return position, self._begin_data(word, rest)
        missing = HEAD_LENGTH + _control_length(rest) - len(kept)
        kept += view[position : position + missing]
        position = min(position + missing, len(view))
        if len(kept) < HEAD_LENGTH + (rest & MAX_LENGTH):
            return position, None
        frame = _control(word, rest, bytes(kept[HEAD_LENGTH:]))
        kept.clear()
        return position, frame

    def _begin_data(self, stream_id: int, rest: int) -> DataReceived | None:
        """Enter a data frame; return an empty one, which ends at once."""
        self._stream_id = stream_id
        self._fin = bool(rest >> 24 & 1)
        self._left = rest & MAX_LENGTH
        return None if self._left else DataReceived(stream_id, memoryview(b""), self._fin)


def _control_length(rest: int) -> int:
    length = rest & MAX_LENGTH
    if length > MAX_CONTROL_LENGTH:
        raise ControlTooLong(f"control frame of {length} bytes; {MAX_CONTROL_LENGTH} are allowed")
    return length


def _control(word: int, rest: int, payload: bytes) -> RawControl:
    return RawControl(word >> 16 & 0x7FFF, word & 0xFFFF, rest >> 24, payload)
