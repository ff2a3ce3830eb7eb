"""Connections of clients: made fast at their beginning, let go gently at their end.

Closing a socket while bytes from the peer are unread makes the kernel send a reset, on which the peer may lose the
last that we sent: the tail of a command's output, or its exit code.  A client that still types while its command ends
would see just that.  So a connection is ended in three steps: close our direction after everything is sent, read and
drop what comes until the peer closes too, and abort if it has not within LINGER seconds.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport

#: Bytes of one read from a bulk connection, and bytes that may wait in a transport's own buffer before its producers
#: are paused.  At 64 KiB, Twisted's default, a gigabyte takes sixteen thousand turns of the reactor.  From 128 KiB on
#: the C library maps each buffer anew and the kernel clears its pages, which costs more than the turns saved.
BULK: Final = 112 << 10
#: Seconds that a peer has to close its side after we closed ours.
LINGER: Final = 5.0


def prepare(transport: Any) -> None:
    """Make a transport fit for bulk data, as far as it is one of the reactor's own sockets."""
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BULK
        transport.SEND_LIMIT = BULK
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


class Farewell:
    """The end of one connection.  The protocol's ``connectionLost`` must call :meth:`over`."""

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._expiry: IDelayedCall | None = None
        #: Whatever still arrives is to be dropped, and nothing to be sent.
        self.begun = False

    def begin(self) -> None:
        """Close our direction when all is sent.  Idempotent."""
        if self.begun:
            return
        self.begun = True
        self._expiry = self._clock.callLater(LINGER, self._transport.abortConnection)
        self._transport.unregisterProducer()
        self._transport.resumeProducing()
        if ISSLTransport.providedBy(self._transport):
            # TLS closes its direction with an alert, and waits for the peer's.
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent.  Idempotent."""
        self.begun = True
        self._transport.abortConnection()

    def over(self) -> None:
        """The connection is gone."""
        self.begun = True
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
