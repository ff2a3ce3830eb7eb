"""Events of a SPDY connection, from ``wire.spdy``.  Each documents what its receiver must do."""

from __future__ import annotations

from attrs import frozen

from criwist.wire.spdy_frames import ResetStatus
from criwist.wire.spdy_headers import HeaderList
from criwist.wire.spdy_reader import DataReceived


@frozen
class StreamOpened:
    """The peer opened a stream: reply or reset."""

    stream_id: int
    headers: HeaderList
    #: The peer will not send on it.
    fin: bool
    #: This end may not send on it.
    unidirectional: bool = False


@frozen
class StreamReplied:
    """The peer accepted a stream of this end: data may be sent."""

    stream_id: int
    headers: HeaderList
    fin: bool


@frozen
class HeadersReceived:
    """More headers on an open stream."""

    stream_id: int
    headers: HeaderList
    fin: bool


@frozen
class StreamReset:
    """The peer reset a stream; it is gone."""

    stream_id: int
    status: int


@frozen
class StreamRefused:
    """The peer broke the rules of a stream: send :meth:`SpdyConnection.reset` with *status*.

    If the stream was open, treat it as lost.
    """

    stream_id: int
    status: ResetStatus
    reason: str


@frozen
class PingReceived:
    """Send :meth:`SpdyConnection.pong`."""

    ping_id: int


@frozen
class PongReceived:
    """The peer answered a ping of this end."""

    ping_id: int


@frozen
class GoAwayReceived:
    """The peer will not answer streams that this end opens after *last_stream_id*; open ones continue."""

    last_stream_id: int
    status: int


Event = (
    DataReceived
    | StreamOpened
    | StreamReplied
    | HeadersReceived
    | StreamReset
    | StreamRefused
    | PingReceived
    | PongReceived
    | GoAwayReceived
)
