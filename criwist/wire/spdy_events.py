"""What happens on a SPDY connection: values that say what the receiver must do.  Their source is ``wire.spdy``."""

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
    #: We may not send on it.
    unidirectional: bool = False


@frozen
class StreamReplied:
    """The peer accepted our stream: data may be sent."""

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
    """The peer did something with a stream that it may not: send :meth:`SpdyConnection.reset` with *status*.

    If it was open before, it is to be treated as lost.
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
    """The peer answered our ping."""

    ping_id: int


@frozen
class GoAwayReceived:
    """The peer will not answer streams that we open after *last_stream_id*; open ones go on."""

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
