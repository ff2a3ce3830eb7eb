"""Connections of clients: made fast at their beginning, let go gently at their end.

Closing a socket while bytes from the peer are unread makes the kernel send a reset, on which the peer may lose the
last that we sent: the tail of a command's output, or its exit code.  A client that still types while its command ends
would see just that.  So a connection is ended in three steps: close our direction after everything is sent, read and
drop what comes until the peer closes too, and abort if it has not LINGER seconds after it got everything.
"""

from __future__ import annotations

import fcntl
import socket
import termios
from array import array
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol

#: Bytes of one read from a bulk connection, and bytes that may wait in a transport's own buffer before its producers
#: are paused.  At 64 KiB, Twisted's default, a gigabyte takes sixteen thousand turns of the reactor.  From 128 KiB on
#: the C library maps each buffer anew and the kernel clears its pages, which costs more than the turns saved.
BULK: Final = 112 << 10
#: Bytes that the kernel may hold for an engine behind a UNIX socket.  With its default of 208 KiB the engine, which
#: reads 32 KiB at a time, and we, who write 112, wake each other for every few frames.
UNIX_SEND_BUFFER: Final = 1 << 20
#: socket(7); the socket module does not name it.
_SO_SNDBUFFORCE: Final = 32
#: Seconds that a peer has to close its side after it has got all that we sent.
LINGER: Final = 5.0


def prepare(transport: Any) -> None:
    """Make a transport fit for bulk data, as far as it is one of the reactor's own sockets."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BULK
        transport.SEND_LIMIT = BULK
    if IUNIXTransport.providedBy(transport):
        _enlarge(transport)
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


def _enlarge(transport: Any) -> None:
    """Let the kernel hold more of what we send; TCP sees to that itself, UNIX sockets have a fixed size."""
    connection: Any = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if connection is None:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, UNIX_SEND_BUFFER)
    except PermissionError:
        # As much as the system allows everybody (net.core.wmem_max).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BUFFER)


class Linger:
    """The end of one connection.  The protocol's ``connectionLost`` must call :meth:`over`.

    :param limit: seconds after which the end does not wait for a client to read any more; 0: it waits for as long as
        the client's system answers.
    """

    def __init__(self, transport: Any, clock: IReactorTime, limit: float = 0.0) -> None:
        self._transport = transport
        self._clock = clock
        self._limit = limit
        self._began = 0.0
        self._expiry: IDelayedCall | None = None
        #: Whatever still arrives is to be dropped, and nothing to be sent.
        self.begun = False

    def begin(self) -> None:
        """Close our direction when all is sent.  Idempotent."""
        if self.begun:
            return
        self.begun = True
        self._began = self._clock.seconds()
        self._expiry = self._clock.callLater(LINGER, self._look)
        self._transport.unregisterProducer()
        self._transport.resumeProducing()
        if isinstance(self._transport, TLSMemoryBIOProtocol):
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

    def _look(self) -> None:
        """Wait on as long as the client has not got all: it reads slowly, or will when its user turns the page."""
        late = self._limit and self._clock.seconds() - self._began >= self._limit
        if unacknowledged(self._transport) and not late:
            self._expiry = self._clock.callLater(LINGER, self._look)
        else:
            self._transport.abortConnection()


def unacknowledged(transport: Any) -> int:
    """Bytes that the kernel has got from us and not yet brought to the peer's; 0 where there is no telling."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    handle: Any = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if not isinstance(handle, socket.socket):
        return 0
    count = array("i", [0])
    try:
        fcntl.ioctl(handle, termios.TIOCOUTQ, count)
    except (OSError, ValueError):
        return 0
    return count[0]
