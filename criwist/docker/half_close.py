"""Half-close for TLS connections, which Twisted's TLS transport does not offer.

The client ends the input of an exec by closing its half of the connection.  Over TLS that is the alert
``close_notify`` (RFC 8446, 6.1: each direction is closed on its own): the engine, a Go program, then reads EOF and
continues to write.  Small writes wait in Twisted's TLS transport for the reactor's next turn, so the alert is sent
after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL.SSL import Error, WantReadError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableDescriptor,
    IProducer,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

_RECORD = 1 << 15


def half_closeable(transport: Any, reactor: IReactorTime) -> Any:
    """Return *transport* itself, or for a TLS transport one over it that can close its write half."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        return HalfCloseableTLS(transport, reactor)
    return transport


@implementer(ITransport, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class HalfCloseableTLS:
    """A TLS transport whose write half can be closed."""

    def __init__(self, tls: TLSMemoryBIOProtocol, reactor: IReactorTime) -> None:
        self._tls: Any = tls
        self._reactor = reactor
        self._write_closed = False

    @property
    def disconnecting(self) -> bool:
        return bool(self._tls.disconnecting)

    def loseWriteConnection(self) -> None:
        """Send ``close_notify`` after the bytes written so far.  Idempotent; drops later writes."""
        if not self._write_closed:
            self._write_closed = True
            # Two turns: calls of one turn have no defined order, and the first may come before the pending write.
            self._reactor.callLater(0, self._reactor.callLater, 0, self._close_notify)

    def _close_notify(self) -> None:
        if not self._tls.connected or self._tls.disconnecting:
            return
        connection = self._tls.getHandle()
        try:
            connection.shutdown()
            while True:
                self._tls.transport.write(connection.bio_read(_RECORD))
        except WantReadError:
            return
        except Error:
            # The handshake is not over, or the connection is broken: there is no half to close any more.
            self._tls.abortConnection()

    def write(self, data: bytes) -> None:
        if not self._write_closed:
            self._tls.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        if not self._write_closed:
            self._tls.writeSequence(data)

    def loseConnection(self) -> None:
        self._tls.loseConnection()

    def abortConnection(self) -> None:
        self._tls.abortConnection()

    def getPeer(self) -> IAddress:
        peer: IAddress = self._tls.getPeer()
        return peer

    def getHost(self) -> IAddress:
        host: IAddress = self._tls.getHost()
        return host

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._tls.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._tls.unregisterProducer()

    def pauseProducing(self) -> None:
        self._tls.pauseProducing()

    def resumeProducing(self) -> None:
        self._tls.resumeProducing()

    def stopProducing(self) -> None:
        self._tls.loseConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """Never called: reactors call the TLS transport below."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """Never called: reactors call the TLS transport below."""
