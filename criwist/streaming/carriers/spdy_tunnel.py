"""SPDY inside a WebSocket (sub-protocol ``SPDY/3.1+portforward.k8s.io``): binary messages in, binary messages out.

To the SPDY session the WebSocket is a transport like any other; the bounds of its messages have no meaning.
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

from criwist.streaming.carriers.websocket import IMessageReceiver, WebSocket


@implementer(IMessageReceiver, ITransport, ISystemHandle, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class TunnelTransport:
    """A transport for *protocol*, over a WebSocket."""

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        self._producer: IPushProducer | None = None
        self._socket: WebSocket

    # -- IMessageReceiver

    def connected(self, socket: WebSocket) -> None:
        self._socket = socket
        self._protocol.makeConnection(self)

    def message_received(self, data: bytes | str, last: bool) -> None:
        if data:
            self._protocol.dataReceived(data.encode() if isinstance(data, str) else bytes(data))

    def disconnected(self, reason: Failure) -> None:
        self._protocol.connectionLost(reason)

    def pause_streams(self) -> None:
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_streams(self) -> None:
        if self._producer is not None:
            self._producer.resumeProducing()

    # -- ITransport, IHalfCloseableDescriptor

    def write(self, data: bytes) -> None:
        self._socket.send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send chunks as one message."""
        self._socket.send(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Close the whole connection, by the closing handshake: a WebSocket has no half-close."""
        self._socket.close()

    def loseConnection(self) -> None:
        self._socket.close()

    def abortConnection(self) -> None:
        self._socket.abort()

    def readConnectionLost(self, reason: Failure) -> None:
        """Do nothing: a WebSocket has no half-close (IHalfCloseableDescriptor)."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """Do nothing: a WebSocket has no half-close (IHalfCloseableDescriptor)."""

    def getPeer(self) -> IAddress:
        return self._socket.getPeer()

    def getHost(self) -> IAddress:
        return self._socket.getHost()

    def getHandle(self) -> object:
        """Return the WebSocket's socket (ISystemHandle)."""
        return self._socket.getHandle()

    # -- IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume *producer* as the WebSocket's transport fills and empties."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._socket.pause_reading()

    def resumeProducing(self) -> None:
        self._socket.resume_reading()

    def stopProducing(self) -> None:
        self._socket.close()
