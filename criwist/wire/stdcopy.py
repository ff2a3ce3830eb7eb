"""Docker's multiplexed output: stdout and stderr of a container without a terminal, in one byte stream.

A frame is a header of eight bytes (one byte stream number, three zero bytes, payload length in 32 bits big endian)
and the payload (Engine API, "Attach to a container", *Stream format*).  A frame may be 4 GiB long, so the demultiplexer
yields payload as it arrives: a frame in several reads becomes several chunks, and only a partial header is buffered.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

HEADER_LENGTH: Final = 8


class Stream(IntEnum):
    """The stream number of a frame."""

    #: Engines can echo standard input under this number; to a reader it is output.
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    #: The engine's error text if the stream ends early.
    SYSTEM_ERROR = 3


_STREAMS: Final = tuple(Stream)


class StdcopyError(ValueError):
    """The bytes are not stdcopy frames: the stream is raw (a terminal's), or reading began in the middle."""


class Chunk(NamedTuple):
    """A part of a frame's payload."""

    stream: Stream
    #: A view into the bytes received; ``bytes(data)`` to keep it.
    data: memoryview
    #: The frame ends with this chunk.
    last: bool


class Demultiplexer:
    """Splits a multiplexed stream.  After a :class:`StdcopyError` it cannot continue."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = Stream.STDOUT
        #: Payload bytes of the current frame that are yet to come.
        self._left = 0

    @property
    def pending(self) -> bool:
        """Return whether a frame has begun and not ended: at the end of the stream, it was cut off."""
        return bool(self._left or self._header)

    def receive_data(self, data: bytes) -> Iterator[Chunk]:
        """Yield the chunks in *data*, in order.  Consume them all before the next call.  Empty frames yield nothing."""
        view = memoryview(data)
        position = 0
        end = len(view)
        while position < end:
            if not self._left:
                position = self._read_header(view, position)
                continue
            stop = min(position + self._left, end)
            self._left -= stop - position
            yield Chunk(self._stream, view[position:stop], not self._left)
            position = stop

    def _read_header(self, view: memoryview, position: int) -> int:
        """Take the available bytes of a header; return the position after them."""
        header: memoryview | bytearray
        if not self._header and position + HEADER_LENGTH <= len(view):
            header = view[position : position + HEADER_LENGTH]
            position += HEADER_LENGTH
        else:
            taken = view[position : position + HEADER_LENGTH - len(self._header)]
            self._header += taken
            position += len(taken)
            if len(self._header) < HEADER_LENGTH:
                return position
            header = self._header
            self._header = bytearray()
        if header[0] >= len(_STREAMS) or header[1] or header[2] or header[3]:
            raise StdcopyError(f"no stdcopy frame begins with {bytes(header).hex(' ')}")
        self._stream = _STREAMS[header[0]]
        self._left = int.from_bytes(header[4:8], "big")
        return position


def frame(stream: Stream, payload: bytes) -> bytes:
    """Return one frame, as the engine sends it."""
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload
