"""SPDY over a transport: ``wire.spdy`` between a Twisted transport and Streams.

The data of one stream in one read is delivered in one call, so a client's 32 KiB frames cost one call for each read,
not one for each frame.  Outgoing chunks leave as one data frame with one head, however many they are.

Responses that the peer can cause - replies, resets, pongs - are bounded too: while the transport is full, only
MAX_UNREAD_RESPONSES bytes of them are queued.  A peer that causes more and does not read is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.streaming.carriers.multiplexed import MultiplexedConnection
from criwist.streaming.direct_writer import DirectWriter
from criwist.streaming.keepalive import Keepalive
from criwist.streaming.linger import Linger
from criwist.streaming.stream import ICarrier, Stream
from criwist.wire.spdy import MAX_DATA, RemoteProtocolError, SpdyConnection
from criwist.wire.spdy_events import Event, HeadersReceived, PingReceived, StreamOpened, StreamRefused, StreamReset
from criwist.wire.spdy_frames import GoAwayStatus, ResetStatus
from criwist.wire.spdy_reader import DataReceived

#: Bytes of replies, resets and pongs that may wait for a peer that does not read.
MAX_UNREAD_RESPONSES: Final = 64 << 10

#: Takes a stream that the peer opened, with its headers; returns False if the stream is not wanted.
Accept = Callable[[Stream, dict[str, str]], bool]


@implementer(ICarrier)
class SpdySession(MultiplexedConnection, Protocol):
    """The server's end of a SPDY connection.

    :param accept: called for each stream that the peer opens, after the reply; a stream that it rejects is reset.
    :param lost: called once when the connection is lost, after all its streams.
    :param idle_limit: seconds; see Keepalive.
    """

    _log = Logger()

    def __init__(self, accept: Accept, lost: Callable[[], None], clock: IReactorTime, idle_limit: float = 0.0) -> None:
        super().__init__(self._pause_transport, self._resume_transport)
        self._accept = accept
        self._lost = lost
        self._clock = clock
        self._idle_limit = idle_limit
        self._connection = SpdyConnection(server=True)
        self._unread_responses = 0

    # -- The transport's side

    def connectionMade(self) -> None:
        self._linger = Linger(self.transport, self._clock, self._idle_limit)
        self._keepalive = Keepalive(self._clock, self._idle_limit, self._ping, self._idle)
        self._writer = DirectWriter(self.transport, self.pause_streams, self._writable)

    def dataReceived(self, data: bytes) -> None:
        if self._linger.started:
            return
        reading: Stream | None = None
        views: list[memoryview] = []
        try:
            for event in self._connection.receive_data(data):
                stream = self._streams.get(event.stream_id) if isinstance(event, DataReceived) else None
                if views and stream is not reading:
                    self._deliver(reading, views)
                    views = []
                reading = stream
                if not isinstance(event, DataReceived):
                    self._event(event)
                    if self._linger.started:
                        return
                elif stream is not None:
                    views.append(event.data)
                    if event.fin:
                        self._deliver(stream, views)
                        views = []
                        stream.finished()
        except RemoteProtocolError as error:
            self._deliver(reading, views)
            self._log.warn("{peer} broke the protocol: {error}", peer=self._peer_name, error=str(error))
            self._end(error.status)
        else:
            self._deliver(reading, views)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._linger.connection_lost()
        self._keepalive.stop()
        self.lose_streams(reason)
        self._lost()

    def _deliver(self, stream: Stream | None, views: list[memoryview]) -> None:
        if stream is None or not views:
            return
        self._keepalive.touch()
        stream.received(views)

    def _event(self, event: Event) -> None:
        match event:
            case StreamOpened():
                self._opened(event)
            case PingReceived(ping_id=ping_id):
                self._respond(self._connection.pong(ping_id))
            case StreamReset(stream_id=stream_id):
                self._lose_stream(stream_id)
            case StreamRefused(stream_id=stream_id, status=status, reason=reason):
                self._log.info("stream {id} of {peer} refused: {why}", id=stream_id, peer=self._peer_name, why=reason)
                self._respond(self._connection.reset(stream_id, status))
                self._lose_stream(stream_id)
            case HeadersReceived(stream_id=stream_id, fin=True) if stream_id in self._streams:
                self._streams[stream_id].finished()

    def _opened(self, event: StreamOpened) -> None:
        stream = Stream(self, event.stream_id)
        # The reply goes first: the peer drops data that comes before it.
        self._respond(self._connection.reply(event.stream_id))
        self._streams[event.stream_id] = stream
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        if event.unidirectional or not self._accept(stream, headers):
            self._respond(self._connection.reset(event.stream_id, ResetStatus.REFUSED_STREAM))
            self._lose_stream(event.stream_id)
        elif event.fin:
            stream.finished()

    def _lose_stream(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.lost(Failure(ConnectionAborted()))

    def _respond(self, data: bytes) -> None:
        """Send a response that the peer has caused, or drop a peer that does not read its responses."""
        if self.full:
            self._unread_responses += len(data)
            if self._unread_responses > MAX_UNREAD_RESPONSES:
                self._log.warn("{peer} does not read its responses: connection dropped", peer=self._peer_name)
                self._linger.abort()
                return
        self._writer.send((data,))

    # -- Ending

    def close(self) -> None:
        """Send GOAWAY, then close the connection when everything is sent.  Idempotent."""
        self._end(GoAwayStatus.OK)

    def abort(self) -> None:
        """Drop the connection, without the bytes that are still to be sent."""
        self._linger.abort()

    def _end(self, status: GoAwayStatus) -> None:
        if not self._linger.started:
            self._writer.send((self._connection.go_away(status),))
            self._writer.close()
            self._keepalive.stop()
            self._linger.start()

    def _ping(self) -> None:
        if not self.full:
            self._writer.send((self._connection.ping(),))

    def _idle(self) -> None:
        self._log.info("{peer} was idle for {limit:g} s: session ended", peer=self._peer_name, limit=self._idle_limit)
        self.close()

    # -- ICarrier

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        if self._linger.started:
            return
        self._keepalive.touch()
        parts = tuple(chunks)
        length = sum(map(len, parts))
        if length <= MAX_DATA:
            self._writer.send((self._connection.data(stream.number, length), *parts))
            return
        joined = memoryview(b"".join(parts))
        for start in range(0, length, MAX_DATA):
            self.send(stream, (joined[start : start + MAX_DATA],))

    def finish(self, stream: Stream) -> None:
        if not self._linger.started:
            self._writer.send((self._connection.data(stream.number, 0, fin=True),))

    def reset(self, stream: Stream) -> None:
        if not self._linger.started:
            self._writer.send((self._connection.reset(stream.number, ResetStatus.CANCEL),))

    def abandon(self, stream: Stream) -> None:
        if not self._linger.started:
            self._connection.abandon(stream.number)

    def getPeer(self) -> IAddress:
        peer: IAddress = self._transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        host: IAddress = self._transport.getHost()
        return host

    # -- Private

    def _writable(self) -> None:
        """Resume the streams: the transport has room again."""
        self._unread_responses = 0
        self.resume_streams()

    def _pause_transport(self) -> None:
        self._transport.pauseProducing()

    def _resume_transport(self) -> None:
        self._transport.resumeProducing()

    @property
    def _transport(self) -> Any:
        return self.transport

    @property
    def _peer_name(self) -> str:
        return str(self.transport.getPeer()) if self.transport is not None else "a client"
