"""A WebSocket over a transport: wsproto between a Twisted transport and an IMessageReceiver.

Messages are delivered in the fragments in which they arrive, so a message of any length needs no buffer.  Pongs are
bounded like SPDY's responses: a peer that sends pings and does not read is dropped.
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


class IMessageReceiver(Interface):
    """Receives the messages of a WebSocket."""

    def connected(socket: WebSocket) -> None:
        """Take the WebSocket, once, when it is connected."""

    def message_received(data: bytes | str, last: bool) -> None:
        """Take a message, or a fragment of one.

        :param last: the message ends with this fragment.
        """

    def pause_streams() -> None:
        """Stop producing: the transport is full."""

    def resume_streams() -> None:
        """Produce again: the transport has room."""

    def disconnected(reason: Failure) -> None:
        """Clean up, once: the connection is lost."""


class WebSocket(Protocol):
    """The server's end of a WebSocket connection after its handshake.

    :param connection: in state OPEN.
    :param idle_limit: seconds; see Keepalive.
    """

    _log = Logger()

    def __init__(
        self, connection: WSConnection, receiver: IMessageReceiver, clock: IReactorTime, idle_limit: float = 0.0
    ) -> None:
        self._connection = connection
        self._receiver = receiver
        self._clock = clock
        self._idle_limit = idle_limit
        self._unread_pongs = 0

    # -- The transport's side

    def connectionMade(self) -> None:
        self._linger = Linger(self.transport, self._clock, self._idle_limit)
        self._keepalive = Keepalive(self._clock, self._idle_limit, self._ping, self._idle)
        self._writer = DirectWriter(self.transport, self._receiver.pause_streams, self._writable)
        self._receiver.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            self._event(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._linger.connection_lost()
        self._keepalive.stop()
        self._receiver.disconnected(reason)

    def _event(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self._close_received(event)
        elif self._linger.started:
            return  # only the peer's close is still of interest
        elif isinstance(event, BytesMessage | TextMessage):
            self._keepalive.touch()
            self._receiver.message_received(_immutable(event.data), event.message_finished)
        elif isinstance(event, Ping):
            self._pong(event)

    def _close_received(self, event: CloseConnection) -> None:
        """The peer closes, or has sent an invalid frame, for which wsproto makes the close event that is to be sent."""
        if self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._end(event.response())
        elif self._connection.state is ConnectionState.OPEN:
            self._log.warn("{peer} broke the protocol: {error}", peer=str(self.getPeer()), error=event.reason)
            self._end(event)
        else:
            self._transport.loseConnection()

    def _pong(self, ping: Ping) -> None:
        data = self._connection.send(ping.response())
        if self._writer.is_full:
            self._unread_pongs += len(data)
            if self._unread_pongs > MAX_UNREAD_PONGS:
                self._log.warn("{peer} sends pings and does not read: connection dropped", peer=str(self.getPeer()))
                self._linger.abort()
                return
        self._writer.send((data,))

    # -- For the receiver of the messages

    def send(self, message: bytes | str) -> None:
        """Send one message, unless the connection is ending."""
        if self._linger.started:
            return
        self._keepalive.touch()
        event = TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
        self._writer.send((self._connection.send(event),))

    def close(self, code: CloseReason = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake, then close the connection when everything is sent.  Idempotent."""
        if not self._linger.started:
            self._end(CloseConnection(code=code, reason=reason))

    def _end(self, close: CloseConnection) -> None:
        self._writer.send((self._connection.send(close),))
        self._writer.close()
        self._keepalive.stop()
        self._linger.start()

    def abort(self) -> None:
        """Drop the connection, without the bytes that are still to be sent."""
        self._linger.abort()

    def pause_reading(self) -> None:
        """Receive nothing until :meth:`resume_reading`."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resumeProducing()

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        peer: IAddress = self._transport.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """Return the server's address."""
        host: IAddress = self._transport.getHost()
        return host

    def getHandle(self) -> object:
        """Return the socket underneath; None if the transport has no socket of the system."""
        transport = self._transport.transport if isinstance(self._transport, TLSMemoryBIOProtocol) else self._transport
        return transport.getHandle() if ISystemHandle.providedBy(transport) else None

    def _ping(self) -> None:
        if not self._writer.is_full:
            self._writer.send((self._connection.send(Ping()),))

    def _idle(self) -> None:
        self._log.info(
            "{peer} was idle for {limit:g} s: session ended", peer=str(self.getPeer()), limit=self._idle_limit
        )
        self.close(CloseReason.GOING_AWAY, "idle")

    def _writable(self) -> None:
        """Resume the streams: the transport has room again."""
        self._unread_pongs = 0
        self._receiver.resume_streams()

    @property
    def _transport(self) -> Any:
        return self.transport


def _immutable(data: bytes | bytearray | str) -> bytes | str:
    return bytes(data) if isinstance(data, bytearray) else data
