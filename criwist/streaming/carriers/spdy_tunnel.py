"""SPDY inside a WebSocket (sub-protocol ``SPDY/3.1+portforward.k8s.io``): binary messages in, binary messages out.

To the SPDY session the WebSocket is a transport like any other; where its messages begin and end means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableDescriptor,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from criwist.streaming.carriers.websocket import IMessages, WebSocket


@implementer(IMessages, ITransport, ISystemHandle, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class Tunnel:
    """A transport for *protocol*."""

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        self._producer: IPushProducer | None = None
        self._socket: WebSocket

    # -- IMessages

    def connected(self, socket: WebSocket) -> None:
        """The connection stands."""
        self._socket = socket
        self._protocol.makeConnection(self)

    def message_received(self, data: bytes | str, last: bool) -> None:
        """Bytes of the protocol inside."""
        if data:
            self._protocol.dataReceived(data.encode() if isinstance(data, str) else bytes(data))

    def disconnected(self, reason: Failure) -> None:
        """The connection is gone."""
        self._protocol.connectionLost(reason)

    def pause_streams(self) -> None:
        """The WebSocket's transport is full."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_streams(self) -> None:
        """The WebSocket's transport has room."""
        if self._producer is not None:
            self._producer.resumeProducing()

    # -- ITransport, IHalfCloseableDescriptor

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send chunks as one message."""
        self._socket.send(b"".join(data))

    def loseWriteConnection(self) -> None:
        """End the connection, by the closing handshake."""
        self._socket.close()

    def loseConnection(self) -> None:
        """The same."""
        self._socket.close()

    def abortConnection(self) -> None:
        """Drop the connection."""
        self._socket.abort()

    def readConnectionLost(self, reason: Failure) -> None:
        """A WebSocket is closed both ways or not at all (IHalfCloseableDescriptor)."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """A WebSocket is closed both ways or not at all (IHalfCloseableDescriptor)."""

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._socket.getPeer()

    def getHost(self) -> IAddress:
        """Ours."""
        return self._socket.getHost()

    def getHandle(self) -> object:
        """The socket underneath (ISystemHandle)."""
        return self._socket.getHandle()

    # -- IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume *producer* as the WebSocket's transport fills and empties."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Leave it alone."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Read nothing."""
        self._socket.pause_reading()

    def resumeProducing(self) -> None:
        """Read on."""
        self._socket.resume_reading()

    def stopProducing(self) -> None:
        """Nobody reads any more."""
        self._socket.close()
