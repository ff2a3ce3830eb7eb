"""A WebSocket over a transport: wsproto with the reactor at its end.

Messages are handed on in the fragments in which they come, so a message of any length needs no buffer.  Pongs are
bounded like SPDY's answers: a peer that pings and does not read is dropped.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IAddress, IReactorTime, ISystemHandle
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from wsproto import WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from zope.interface import Interface

from criwist.streaming.direct_writer import DirectWriter
from criwist.streaming.keepalive import Keepalive
from criwist.streaming.linger import Linger

#: Bytes of pongs that may wait for a peer that does not read.
MAX_UNREAD_PONGS: Final = 64 << 10


class IMessages(Interface):
    """Whom the messages of a WebSocket are for."""

    def connected(socket: WebSocket) -> None:
        """The connection stands."""

    def message_received(data: bytes | str, last: bool) -> None:
        """A message, or a fragment of one."""

    def pause_streams() -> None:
        """The transport is full: stop producing."""

    def resume_streams() -> None:
        """The transport has room."""

    def disconnected(reason: Failure) -> None:
        """The connection is gone."""


class WebSocket(Protocol):
    """The server's end of a WebSocket connection after its handshake.

    :param connection: in state OPEN.
    :param idle_limit: seconds; see Vigil.
    """

    _log = Logger()

    def __init__(
        self, connection: WSConnection, messages: IMessages, clock: IReactorTime, idle_limit: float = 0.0
    ) -> None:
        self._connection = connection
        self._messages = messages
        self._clock = clock
        self._idle_limit = idle_limit
        self._unread_pongs = 0

    # -- The transport's side

    def connectionMade(self) -> None:
        """Begin."""
        self._farewell = Linger(self.transport, self._clock, self._idle_limit)
        self._vigil = Keepalive(self._clock, self._idle_limit, self._ping, self._idle)
        self._outlet = DirectWriter(self.transport, self._messages.pause_streams, self._room)
        self._messages.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Hand the messages on; after our own close only look for the peer's."""
        self._connection.receive_data(data)
        for event in self._connection.events():
            self._event(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end."""
        self._farewell.over()
        self._vigil.stop()
        self._messages.disconnected(reason)

    def _event(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self._closed(event)
        elif self._farewell.begun:
            return
        elif isinstance(event, BytesMessage | TextMessage):
            self._vigil.touch()
            self._messages.message_received(_immutable(event.data), event.message_finished)
        elif isinstance(event, Ping):
            self._pong(event)

    def _closed(self, event: CloseConnection) -> None:
        """The peer closes, or has sent what is no WebSocket frame, which wsproto tells as an event to be sent."""
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._end(event.response())
        elif self._connection.state is ConnectionState.OPEN:
            self._log.warn("{peer} broke the protocol: {fault}", peer=str(self.getPeer()), fault=event.reason)
            self._end(event)
        else:
            self._transport.loseConnection()

    def _pong(self, ping: Ping) -> None:
        data = self._connection.send(ping.response())
        if self._outlet.is_full:
            self._unread_pongs += len(data)
            if self._unread_pongs > MAX_UNREAD_PONGS:
                self._log.warn("{peer} pings and does not read: dropped", peer=str(self.getPeer()))
                self._farewell.abort()
                return
        self._outlet.send((data,))

    # -- For whom the messages are

    def send(self, message: bytes | str) -> None:
        """Send one message."""
        if self._farewell.begun:
            return
        self._vigil.touch()
        event = TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
        self._outlet.send((self._connection.send(event),))

    def close(self, code: CloseReason = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Say that it is over; what has been sent arrives, then the connection closes.  Idempotent."""
        if not self._farewell.begun:
            self._end(CloseConnection(code=code, reason=reason))

    def _end(self, close: CloseConnection) -> None:
        self._outlet.send((self._connection.send(close),))
        self._outlet.close()
        self._vigil.stop()
        self._farewell.begin()

    def abort(self) -> None:
        """Drop the connection."""
        self._farewell.abort()

    def pause_reading(self) -> None:
        """Receive nothing until :meth:`resume_reading`."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resumeProducing()

    def getPeer(self) -> IAddress:
        """The client's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """Ours."""
        host: IAddress = self._transport.getHost()
        return host

    def getHandle(self) -> object:
        """The socket underneath; None if it is none of the system's."""
        transport = self._transport.transport if isinstance(self._transport, TLSMemoryBIOProtocol) else self._transport
        return transport.getHandle() if ISystemHandle.providedBy(transport) else None

    def _ping(self) -> None:
        if not self._outlet.is_full:
            self._outlet.send((self._connection.send(Ping()),))

    def _idle(self) -> None:
        self._log.info(
            "{peer} was idle for {limit:g} s: session ended", peer=str(self.getPeer()), limit=self._idle_limit
        )
        self.close(CloseReason.GOING_AWAY, "idle")

    def _room(self) -> None:
        """The transport takes data again."""
        self._unread_pongs = 0
        self._messages.resume_streams()

    @property
    def _transport(self) -> Any:
        return self.transport


def _immutable(data: bytes | bytearray | str) -> bytes | str:
    return bytes(data) if isinstance(data, bytearray) else data
