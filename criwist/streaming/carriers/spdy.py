"""SPDY over a transport: ``wire.spdy`` with the reactor at both its ends.

Incoming data of one stream within one read is delivered once, so that a client's 32 KiB frames cost one call for each
read, not each frame.  Outgoing chunks leave as one data frame with one head, however many they are.

What the peer can make us say - replies, resets, pongs - is bounded as well: while the transport is full, only
MAX_UNREAD_ANSWERS bytes of it are queued, then the peer, which asks but does not read, is dropped.
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

#: Bytes of answers that may wait for a peer that does not read.
MAX_UNREAD_ANSWERS: Final = 64 << 10

#: Takes a stream that the peer opened, with its headers, and says whether it is wanted.
Accept = Callable[[Stream, dict[str, str]], bool]


@implementer(ICarrier)
class SpdySession(MultiplexedConnection, Protocol):
    """The server's end of a SPDY connection.

    :param accept: called for each stream that the peer opens, which is replied to before and reset if not wanted.
    :param lost: called once when the connection is gone, after all its streams.
    :param idle_limit: seconds; see Vigil.
    """

    _log = Logger()

    def __init__(self, accept: Accept, lost: Callable[[], None], clock: IReactorTime, idle_limit: float = 0.0) -> None:
        super().__init__(self._stop_reading, self._go_on_reading)
        self._accept = accept
        self._lost = lost
        self._clock = clock
        self._idle_limit = idle_limit
        self._connection = SpdyConnection(server=True)
        self._unread_answers = 0

    # -- The transport's side

    def connectionMade(self) -> None:
        """Begin."""
        self._farewell = Linger(self.transport, self._clock, self._idle_limit)
        self._vigil = Keepalive(self._clock, self._idle_limit, self._ping, self._idle)
        self._outlet = DirectWriter(self.transport, self.pause_streams, self._room)

    def dataReceived(self, data: bytes) -> None:
        """Part the bytes among the streams."""
        if self._farewell.begun:
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
                    if self._farewell.begun:
                        return
                elif stream is not None:
                    views.append(event.data)
                    if event.fin:
                        self._deliver(stream, views)
                        views = []
                        stream.finished()
        except RemoteProtocolError as fault:
            self._deliver(reading, views)
            self._log.warn("{peer} broke the protocol: {fault}", peer=self._name, fault=str(fault))
            self._end(fault.status)
        else:
            self._deliver(reading, views)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Every stream that is left is lost with the connection."""
        self._farewell.over()
        self._vigil.stop()
        self.lose_streams(reason)
        self._lost()

    def _deliver(self, stream: Stream | None, views: list[memoryview]) -> None:
        if stream is None or not views:
            return
        self._vigil.touch()
        stream.received(views)

    def _event(self, event: Event) -> None:
        match event:
            case StreamOpened():
                self._opened(event)
            case PingReceived(ping_id=ping_id):
                self._answer(self._connection.pong(ping_id))
            case StreamReset(stream_id=stream_id):
                self._forget(stream_id)
            case StreamRefused(stream_id=stream_id, status=status, reason=reason):
                self._log.info("stream {id} of {peer} refused: {why}", id=stream_id, peer=self._name, why=reason)
                self._answer(self._connection.reset(stream_id, status))
                self._forget(stream_id)
            case HeadersReceived(stream_id=stream_id, fin=True) if stream_id in self._streams:
                self._streams[stream_id].finished()

    def _opened(self, event: StreamOpened) -> None:
        stream = Stream(self, event.stream_id)
        # Before anything else happens to it: the peer drops what comes before the reply.
        self._answer(self._connection.reply(event.stream_id))
        self._streams[event.stream_id] = stream
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        if event.unidirectional or not self._accept(stream, headers):
            self._answer(self._connection.reset(event.stream_id, ResetStatus.REFUSED_STREAM))
            self._forget(event.stream_id)
        elif event.fin:
            stream.finished()

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.lost(Failure(ConnectionAborted()))

    def _answer(self, data: bytes) -> None:
        """Send what the peer asked for."""
        if self.full:
            self._unread_answers += len(data)
            if self._unread_answers > MAX_UNREAD_ANSWERS:
                self._log.warn("{peer} asks and does not read: dropped", peer=self._name)
                self._farewell.abort()
                return
        self._outlet.send((data,))

    # -- Ending

    def close(self) -> None:
        """End the session: what has been sent arrives, then the connection closes.  Idempotent."""
        self._end(GoAwayStatus.OK)

    def abort(self) -> None:
        """Drop the connection."""
        self._farewell.abort()

    def _end(self, status: GoAwayStatus) -> None:
        if not self._farewell.begun:
            self._outlet.send((self._connection.go_away(status),))
            self._outlet.close()
            self._vigil.stop()
            self._farewell.begin()

    def _ping(self) -> None:
        if not self.full:
            self._outlet.send((self._connection.ping(),))

    def _idle(self) -> None:
        self._log.info("{peer} was idle for {limit:g} s: session ended", peer=self._name, limit=self._idle_limit)
        self.close()

    # -- ICarrier

    def send(self, stream: Stream, chunks: Iterable[bytes | memoryview]) -> None:
        """One data frame."""
        if self._farewell.begun:
            return
        self._vigil.touch()
        parts = tuple(chunks)
        length = sum(map(len, parts))
        if length <= MAX_DATA:
            self._outlet.send((self._connection.data(stream.number, length), *parts))
            return
        whole = memoryview(b"".join(parts))
        for start in range(0, length, MAX_DATA):
            self.send(stream, (whole[start : start + MAX_DATA],))

    def finish(self, stream: Stream) -> None:
        """An empty data frame that says so."""
        if not self._farewell.begun:
            self._outlet.send((self._connection.data(stream.number, 0, fin=True),))

    def reset(self, stream: Stream) -> None:
        """A reset frame."""
        if not self._farewell.begun:
            self._outlet.send((self._connection.reset(stream.number, ResetStatus.CANCEL),))

    def abandon(self, stream: Stream) -> None:
        """Forget it in the connection too."""
        if not self._farewell.begun:
            self._connection.abandon(stream.number)

    def getPeer(self) -> IAddress:
        """The client's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """Ours."""
        host: IAddress = self._transport.getHost()
        return host

    # -- Parts

    def _room(self) -> None:
        """The transport takes data again."""
        self._unread_answers = 0
        self.resume_streams()

    def _stop_reading(self) -> None:
        self._transport.pauseProducing()

    def _go_on_reading(self) -> None:
        self._transport.resumeProducing()

    @property
    def _transport(self) -> Any:
        return self.transport

    @property
    def _name(self) -> str:
        return str(self.transport.getPeer()) if self.transport is not None else "a client"
