"""A SPDY/3.1 connection without I/O, either end.

::

    connection = SpdyConnection(server=True)
    for event in connection.receive_data(data):   # raises RemoteProtocolError at bytes that break the protocol
        ...                                       # each event documents what its receiver must do
    transport.write(connection.reply(stream_id))  # the methods return bytes, to be written at once and
    transport.write(connection.data(stream_id, len(payload)) + payload)      # in order

The life of a stream: one end *opens* it (SYN_STREAM), the other *replies* or *resets*; from then on both send data;
each end *finishes* its own direction (FIN) when it likes, and the stream is gone when both have, or when either resets
it.  Frames of streams that are gone may still be on their way and are dropped in silence.  The draft demands another
reset each time, which would carry no news and let a peer trigger traffic.

There are no flow-control windows.  The peers of the Kubernetes streaming protocols neither send WINDOW_UPDATE nor wait
for it (their SPDY library has no flow control), so waiting for a window would hang after 64 KiB; back-pressure is
TCP's.  SETTINGS and WINDOW_UPDATE are checked for their layout and have no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define, field

from criwist.wire import spdy_frames as frames
from criwist.wire.spdy_events import (
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingReceived,
    PongReceived,
    StreamOpened,
    StreamRefused,
    StreamReplied,
    StreamReset,
)
from criwist.wire.spdy_frames import GoAwayStatus, ResetStatus
from criwist.wire.spdy_headers import (
    BlockError,
    CompressionError,
    HeaderCompressor,
    HeaderDecompressor,
    HeaderList,
)
from criwist.wire.spdy_reader import ControlTooLong, DataReceived, FrameReader, RawControl

#: Streams that the peer may have open at once; more are refused, one by one.  A forwarded connection takes two, so
#: that 1024 connections fit through one port-forward, and as many file descriptors are the most that one client costs.
MAX_STREAMS: Final = 2048
#: Payload bytes of one data frame.
MAX_DATA: Final = frames.MAX_LENGTH


class LocalProtocolError(Exception):
    """The caller tried to send a frame that the connection's state does not allow: a bug in this process."""


class RemoteProtocolError(Exception):
    """The peer broke the protocol: send :meth:`SpdyConnection.go_away` with ``status`` and close."""

    def __init__(self, message: str, status: GoAwayStatus = GoAwayStatus.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.status = status


@define
class _StreamState:
    """The directions that are open."""

    sending: bool
    receiving: bool
    replied: bool


@define(eq=False)
class SpdyConnection:
    """One end of a connection.

    :param server: the peer opens odd streams and pings with odd ids.
    :param max_streams: see MAX_STREAMS.
    """

    server: bool = field(kw_only=True)
    max_streams: int = field(default=MAX_STREAMS, kw_only=True)
    _reader: FrameReader = field(factory=FrameReader, init=False)
    _compressor: HeaderCompressor = field(factory=HeaderCompressor, init=False)
    _decompressor: HeaderDecompressor = field(factory=HeaderDecompressor, init=False)
    _streams: dict[int, _StreamState] = field(factory=dict, init=False)
    #: The last stream that the peer opened, and the last that this end opened.
    _last_received: int = field(default=0, init=False)
    _last_opened: int = field(default=0, init=False)
    _peers_streams: int = field(default=0, init=False)
    _last_ping: int = field(default=0, init=False)
    _pinged: set[int] = field(factory=set, init=False)
    _going_away: bool = field(default=False, init=False)
    _failed: bool = field(default=False, init=False)

    # -- receiving

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """Yield the events in *data*.  Consume all events before the next call.

        :raises RemoteProtocolError: after the events before it.  Later data is dropped.
        """
        if self._failed:
            return
        try:
            for frame in self._reader.receive_data(data):
                event = self._data_event(frame) if isinstance(frame, DataReceived) else self._control_event(frame)
                if event is not None:
                    yield event
        except (ControlTooLong, CompressionError, frames.FrameError) as error:
            self._failed = True
            raise RemoteProtocolError(str(error)) from error
        except RemoteProtocolError:
            self._failed = True
            raise

    def _data_event(self, piece: DataReceived) -> Event | None:
        state = self._streams.get(piece.stream_id)
        if state is None:
            return self._unknown(piece.stream_id, "data")
        if not state.receiving:
            return self._refuse(piece.stream_id, ResetStatus.STREAM_ALREADY_CLOSED, "data after the end of a stream")
        if piece.fin:
            self._received_fin(piece.stream_id, state)
        return piece

    def _control_event(self, raw: RawControl) -> Event | None:
        if raw.version != frames.VERSION:
            raise RemoteProtocolError(f"SPDY version {raw.version}, not {frames.VERSION}")
        frame = frames.decode(raw.type, raw.flags, raw.payload)
        match frame:
            case frames.SynStream():
                return self._opened(frame)
            case frames.SynReply():
                return self._replied(frame)
            case frames.Headers():
                return self._more_headers(frame)
            case frames.RstStream(stream_id=stream_id, status=status):
                return StreamReset(stream_id, status) if self._forget(stream_id) else None
            case frames.Ping(ping_id=ping_id):
                return self._ping_event(ping_id)
            case frames.GoAway(last_stream_id=last, status=status):
                return GoAwayReceived(last, status)
        return None

    def _opened(self, frame: frames.SynStream) -> Event | None:
        headers = self._headers(frame.block)
        stream_id = frame.stream_id
        if stream_id % 2 != self.server:
            raise RemoteProtocolError(f"the peer opened stream {stream_id}, whose number belongs to this end")
        if stream_id <= self._last_received:
            raise RemoteProtocolError(f"the peer opened stream {stream_id} after stream {self._last_received}")
        if self._going_away:
            return None
        self._last_received = stream_id
        if isinstance(headers, BlockError):
            return self._refuse(stream_id, ResetStatus.PROTOCOL_ERROR, str(headers))
        if self._peers_streams >= self.max_streams:
            reason = f"{self.max_streams} streams are open"
            return self._refuse(stream_id, ResetStatus.REFUSED_STREAM, reason)
        self._peers_streams += 1
        self._streams[stream_id] = _StreamState(
            sending=not frame.unidirectional, receiving=not frame.fin, replied=False
        )
        return StreamOpened(stream_id, headers, frame.fin, frame.unidirectional)

    def _replied(self, frame: frames.SynReply) -> Event | None:
        headers = self._headers(frame.block)
        state = self._streams.get(frame.stream_id)
        if state is None:
            return self._unknown(frame.stream_id, "a reply")
        if state.replied or self._is_peers(frame.stream_id):
            return self._refuse(frame.stream_id, ResetStatus.STREAM_IN_USE, "a second reply")
        if isinstance(headers, BlockError):
            return self._refuse(frame.stream_id, ResetStatus.PROTOCOL_ERROR, str(headers))
        state.replied = True
        if frame.fin:
            self._received_fin(frame.stream_id, state)
        return StreamReplied(frame.stream_id, headers, frame.fin)

    def _more_headers(self, frame: frames.Headers) -> Event | None:
        headers = self._headers(frame.block)
        state = self._streams.get(frame.stream_id)
        if state is None:
            return self._unknown(frame.stream_id, "headers")
        if not state.receiving:
            return self._refuse(frame.stream_id, ResetStatus.STREAM_ALREADY_CLOSED, "headers after the end of a stream")
        if isinstance(headers, BlockError):
            return self._refuse(frame.stream_id, ResetStatus.PROTOCOL_ERROR, str(headers))
        if frame.fin:
            self._received_fin(frame.stream_id, state)
        return HeadersReceived(frame.stream_id, headers, frame.fin)

    def _headers(self, block: bytes) -> HeaderList | BlockError:
        """The headers, or the error in them, which the caller reports.  Must be called for every block."""
        try:
            return self._decompressor.decompress(block)
        except BlockError as error:
            return error

    def _ping_event(self, ping_id: int) -> Event | None:
        if ping_id % 2 == self.server:
            return PingReceived(ping_id)
        if ping_id not in self._pinged:
            return None
        self._pinged.discard(ping_id)
        return PongReceived(ping_id)

    def _unknown(self, stream_id: int, what: str) -> Event | None:
        """A frame for a stream that is not open: silence if it once was, else a reset."""
        last = self._last_received if self._is_peers(stream_id) else self._last_opened
        if 0 < stream_id <= last or self._going_away:
            return None
        if not stream_id:
            raise RemoteProtocolError(f"{what} for stream 0")
        return StreamRefused(stream_id, ResetStatus.INVALID_STREAM, f"{what} for a stream that was never opened")

    def _refuse(self, stream_id: int, status: ResetStatus, reason: str) -> StreamRefused:
        self._forget(stream_id)
        return StreamRefused(stream_id, status, reason)

    # -- sending

    def open_stream(self, headers: HeaderList, *, fin: bool = False) -> tuple[int, bytes]:
        """Open a stream; return its id and the bytes to send.  With *fin* no data will be sent on it."""
        if self._going_away:
            raise LocalProtocolError("the session is ending")
        stream_id = self._last_opened + 2 if self._last_opened else 1 + self.server
        if stream_id > frames.MAX_STREAM_ID:
            raise LocalProtocolError("stream ids are used up")
        self._last_opened = stream_id
        self._streams[stream_id] = _StreamState(sending=not fin, receiving=True, replied=False)
        return stream_id, frames.SynStream(stream_id, self._compressor.compress(headers), fin).encode()

    def reply(self, stream_id: int, headers: HeaderList = (), *, fin: bool = False) -> bytes:
        """Accept the peer's stream.  The peer drops data that it receives before."""
        state = self._streams.get(stream_id)
        if state is None or state.replied or not self._is_peers(stream_id):
            raise LocalProtocolError(f"stream {stream_id} cannot be replied to")
        state.replied = True
        if fin:
            self._sent_fin(stream_id, state)
        return frames.SynReply(stream_id, self._compressor.compress(headers), fin).encode()

    def data(self, stream_id: int, length: int, *, fin: bool = False) -> bytes:
        """Return the head of a data frame; *length* bytes of payload, at most MAX_DATA, must follow it on the wire."""
        state = self._streams.get(stream_id)
        if state is None or not state.sending:
            raise LocalProtocolError(f"stream {stream_id} is not open for sending")
        if not state.replied and self._is_peers(stream_id):
            raise LocalProtocolError(f"stream {stream_id} has not been replied to")
        if length > MAX_DATA:
            raise LocalProtocolError(f"{length} bytes do not fit into a data frame")
        if fin:
            self._sent_fin(stream_id, state)
        return frames.data_head(stream_id, length, fin)

    def reset(self, stream_id: int, status: ResetStatus) -> bytes:
        """End a stream both ways, or refuse one that is not open."""
        self._forget(stream_id)
        return frames.RstStream(stream_id, status).encode()

    def abandon(self, stream_id: int) -> None:
        """Forget a stream on which this end sends nothing more; frames that still arrive are dropped in silence.

        A peer that never finishes its direction would otherwise count as having the stream open for ever.
        """
        state = self._streams.get(stream_id)
        if state is not None and state.sending:
            raise LocalProtocolError(f"stream {stream_id} is still open for sending")
        self._forget(stream_id)

    def ping(self) -> bytes:
        """Return a ping, which the peer answers: a PongReceived."""
        self._last_ping = self._last_ping % (frames.MAX_STREAM_ID - 1) + 2 if self._last_ping else 1 + self.server
        # Only the last one is remembered: a peer that answers no ping must not fill the memory.
        self._pinged = {self._last_ping}
        return frames.Ping(self._last_ping).encode()

    def pong(self, ping_id: int) -> bytes:
        """Return the answer to a ping."""
        return frames.Ping(ping_id).encode()

    def go_away(self, status: GoAwayStatus = GoAwayStatus.OK) -> bytes:
        """Announce the end: streams that the peer opens from now on are ignored, open ones continue."""
        self._going_away = True
        return frames.GoAway(self._last_received, status).encode()

    # -- state

    def _is_peers(self, stream_id: int) -> bool:
        return stream_id % 2 == self.server

    def _received_fin(self, stream_id: int, state: _StreamState) -> None:
        state.receiving = False
        if not state.sending:
            self._forget(stream_id)

    def _sent_fin(self, stream_id: int, state: _StreamState) -> None:
        state.sending = False
        if not state.receiving:
            self._forget(stream_id)

    def _forget(self, stream_id: int) -> bool:
        """Drop a stream; return whether it was there."""
        known = self._streams.pop(stream_id, None) is not None
        if known and self._is_peers(stream_id):
            self._peers_streams -= 1
        return known
