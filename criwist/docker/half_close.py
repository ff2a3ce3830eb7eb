"""Closing our half of a TLS connection, which Twisted's TLS transport has no call for.

The end of input of an exec is our half's end.  Over TLS that is the alert ``close_notify`` (RFC 8446, 6.1: each
direction is closed on its own): the engine, a Go program, then reads EOF and goes on writing.  Small writes wait in
Twisted's TLS transport for the next turn of the reactor, so the alert is sent after that.
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
    """*transport* itself, or if it is a TLS transport, one over it that can close its write half."""
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
        """Whether the connection is being closed."""
        return bool(self._tls.disconnecting)

    def loseWriteConnection(self) -> None:
        """Send ``close_notify`` after what was written.  Idempotent; what is written after it is dropped."""
        if not self._write_closed:
            self._write_closed = True
            # Twice: calls of one turn have no order among themselves, and the first may be before the pending write.
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
            # Not between messages, or broken: there is no half to close any more.
            self._tls.abortConnection()

    def write(self, data: bytes) -> None:
        """Write, unless our half is closed."""
        if not self._write_closed:
            self._tls.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write, unless our half is closed."""
        if not self._write_closed:
            self._tls.writeSequence(data)

    def loseConnection(self) -> None:
        """Close."""
        self._tls.loseConnection()

    def abortConnection(self) -> None:
        """Close now."""
        self._tls.abortConnection()

    def getPeer(self) -> IAddress:
        """The engine's address."""
        peer: IAddress = self._tls.getPeer()
        return peer

    def getHost(self) -> IAddress:
        """Our address."""
        host: IAddress = self._tls.getHost()
        return host

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Have *producer* fill the connection."""
        self._tls.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._tls.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._tls.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._tls.resumeProducing()

    def stopProducing(self) -> None:
        """Close."""
        self._tls.loseConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """For reactors, which know the TLS transport only."""

    def writeConnectionLost(self, reason: Failure) -> None:
        """For reactors, which know the TLS transport only."""
