"""SPDY/3 frames: every layout of the draft that the streaming protocols use, both ways, and nothing else.

A frame is eight bytes of head and a payload.  The first bit of the head distinguishes control frames (version, type,
flags, 24-bit length) from data frames (stream id, flags, 24-bit length).  Section numbers are those of "SPDY Protocol -
Draft 3".  Header blocks stay compressed here: their compression is a state of the connection (``spdy_headers``).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from attrs import frozen

VERSION: Final = 3
HEAD_LENGTH: Final = 8
#: The longest payload that 24 bits can express.
MAX_LENGTH: Final = (1 << 24) - 1
#: Stream ids have 31 bits.
MAX_STREAM_ID: Final = (1 << 31) - 1

_CONTROL: Final = 0x8000_0000 | VERSION << 16
_FIN: Final = 0x01
_UNIDIRECTIONAL: Final = 0x02
_HEAD: Final = struct.Struct(">II")
_WORD: Final = struct.Struct(">I")
_SYN_STREAM: Final = struct.Struct(">IIBB")


class FrameType(IntEnum):
    """Types of control frames.  A peer's frame of another type is ignored (2.2.1)."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(IntEnum):
    """Why a stream is reset (2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    INVALID_CREDENTIALS = 10
    FRAME_TOO_LARGE = 11


class GoAwayStatus(IntEnum):
    """Why a session ends (2.6.6)."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class FrameError(ValueError):
    """A control frame that its layout does not allow."""


@frozen
class SynStream:
    """Opens a stream (2.6.1)."""

    stream_id: int
    #: The compressed name/value block.
    block: bytes
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    #: 0 is the highest, 7 the lowest.
    priority: int = 0
    slot: int = 0

    def encode(self) -> bytes:
        """The frame's bytes."""
        flags = _FIN * self.fin | _UNIDIRECTIONAL * self.unidirectional
        fixed = _SYN_STREAM.pack(self.stream_id, self.associated, self.priority << 5, self.slot)
        return _control(FrameType.SYN_STREAM, flags, fixed + self.block)


@frozen
class SynReply:
    """Accepts a stream (2.6.2)."""

    stream_id: int
    block: bytes
    fin: bool = False

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.SYN_REPLY, _FIN * self.fin, _WORD.pack(self.stream_id) + self.block)


@frozen
class RstStream:
    """Ends a stream at once, both ways (2.6.3).  A status that the draft does not name is kept unchanged."""

    stream_id: int
    status: int

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.RST_STREAM, 0, _HEAD.pack(self.stream_id, self.status))


@frozen
class Settings:
    """Settings of the sender (2.6.4): ``(flags, id, value)`` each."""

    entries: tuple[tuple[int, int, int], ...]
    clear: bool = False

    def encode(self) -> bytes:
        """The frame's bytes."""
        payload = [_WORD.pack(len(self.entries))]
        payload += [_HEAD.pack(flags << 24 | number, value) for flags, number, value in self.entries]
        return _control(FrameType.SETTINGS, int(self.clear), b"".join(payload))


@frozen
class Ping:
    """Asks for the same frame in return (2.6.5); a client's ids are odd, a server's even."""

    ping_id: int

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.PING, 0, _WORD.pack(self.ping_id))


@frozen
class GoAway:
    """Ends the session for streams after *last_stream_id* (2.6.6)."""

    last_stream_id: int
    status: int

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.GOAWAY, 0, _HEAD.pack(self.last_stream_id, self.status))


@frozen
class Headers:
    """More headers for a stream (2.6.7)."""

    stream_id: int
    block: bytes
    fin: bool = False

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.HEADERS, _FIN * self.fin, _WORD.pack(self.stream_id) + self.block)


@frozen
class WindowUpdate:
    """Room for more data (2.6.8)."""

    stream_id: int
    delta: int

    def encode(self) -> bytes:
        """The frame's bytes."""
        return _control(FrameType.WINDOW_UPDATE, 0, _HEAD.pack(self.stream_id, self.delta))


ControlFrame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | Headers | WindowUpdate


def data_head(stream_id: int, length: int, fin: bool) -> bytes:
    """Return the head of a data frame (2.2.2) whose payload of *length* bytes must follow it on the wire."""
    return _HEAD.pack(stream_id, _FIN << 24 | length if fin else length)


def decode(frame_type: int, flags: int, payload: bytes) -> ControlFrame | None:
    """Return the control frame with this head and payload; None: of a type that must be ignored.

    :raises FrameError: length or fields do not fit the layout.
    """
    try:
        known = FrameType(frame_type)
    except ValueError:
        return None
    try:
        return _decode(known, flags, payload)
    except struct.error as error:
        raise FrameError(f"{known.name} frame of {len(payload)} bytes") from error


def _decode(known: FrameType, flags: int, payload: bytes) -> ControlFrame:
    fin = bool(flags & _FIN)
    match known:
        case FrameType.SYN_STREAM:
            stream_id, associated, priority, slot = _SYN_STREAM.unpack_from(payload)
            return SynStream(
                stream_id=_stream_id(stream_id, known),
                block=payload[_SYN_STREAM.size :],
                fin=fin,
                unidirectional=bool(flags & _UNIDIRECTIONAL),
                associated=associated & MAX_STREAM_ID,
                priority=priority >> 5,
                slot=slot,
            )
        case FrameType.SYN_REPLY:
            (stream_id,) = _WORD.unpack_from(payload)
            return SynReply(_stream_id(stream_id, known), payload[_WORD.size :], fin)
        case FrameType.HEADERS:
            (stream_id,) = _WORD.unpack_from(payload)
            return Headers(_stream_id(stream_id, known), payload[_WORD.size :], fin)
        case FrameType.RST_STREAM:
            stream_id, status = _HEAD.unpack(payload)
            return RstStream(_stream_id(stream_id, known), status)
        case FrameType.SETTINGS:
            return _decode_settings(flags, payload)
        case FrameType.PING:
            return Ping(*_WORD.unpack(payload))
        case FrameType.GOAWAY:
            last, status = _HEAD.unpack(payload)
            return GoAway(last & MAX_STREAM_ID, status)
        case FrameType.WINDOW_UPDATE:  # pragma: no branch - it is the last of the types
            stream_id, delta = _HEAD.unpack(payload)
            return WindowUpdate(stream_id & MAX_STREAM_ID, delta & MAX_STREAM_ID)


def _decode_settings(flags: int, payload: bytes) -> Settings:
    (count,) = _WORD.unpack_from(payload)
    if len(payload) != _WORD.size + count * _HEAD.size:
        raise FrameError(f"SETTINGS frame of {len(payload)} bytes announces {count} entries")
    pairs = _HEAD.iter_unpack(payload[_WORD.size :])
    return Settings(tuple((word >> 24, word & MAX_LENGTH, value) for word, value in pairs), clear=bool(flags & 1))


def _stream_id(word: int, known: FrameType) -> int:
    stream_id = word & MAX_STREAM_ID
    if not stream_id:
        raise FrameError(f"{known.name} frame for stream 0")
    return stream_id


def _control(frame_type: FrameType, flags: int, payload: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | frame_type, flags << 24 | len(payload)) + payload
