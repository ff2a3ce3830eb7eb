"""Ending a client's connection so that the client receives everything.

When a socket is closed while bytes from the peer are unread, the kernel sends a reset, after which the peer may lose
the last bytes that were sent to it: the tail of a command's output, or its exit code.  A client that still types while
its command ends would lose just that.  So a connection ends in three steps: close our direction after everything is
sent; read and drop the peer's bytes until the peer closes too; abort if the peer has received everything and does not
close within LINGER seconds.
"""

from __future__ import annotations

import fcntl
import socket
import termios
from array import array
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISystemHandle
from twisted.protocols.tls import TLSMemoryBIOProtocol

#: Seconds that a peer has to close its side after it has received everything.
LINGER: Final = 5.0


class Linger:
    """The end of one connection.  The protocol's ``connectionLost`` must call :meth:`connection_lost`.

    :param limit: seconds after which a client that does not read is dropped; 0: never, as long as the client's system
        acknowledges.
    """

    def __init__(self, transport: Any, clock: IReactorTime, limit: float = 0.0) -> None:
        self._transport = transport
        self._clock = clock
        self._limit = limit
        self._started_at = 0.0
        self._next_check: IDelayedCall | None = None
        #: The connection is ending: drop every byte that still arrives, and send none.
        self.started = False

    def start(self) -> None:
        """Close our direction when everything is sent, then wait for the peer.  Idempotent."""
        if self.started:
            return
        self.started = True
        self._started_at = self._clock.seconds()
        self._next_check = self._clock.callLater(LINGER, self._check)
        self._transport.unregisterProducer()
        self._transport.resumeProducing()
        if isinstance(self._transport, TLSMemoryBIOProtocol):
            # TLS closes its direction with an alert, and waits for the peer's.
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def abort(self) -> None:
        """Drop the connection with everything that is still to be sent.  Idempotent."""
        self.started = True
        self._transport.abortConnection()

    def connection_lost(self) -> None:
        """Stop the timer: the connection is closed."""
        self.started = True
        if self._next_check is not None and self._next_check.active():
            self._next_check.cancel()

    def _check(self) -> None:
        """Abort, unless the client has still bytes to receive.  It reads slowly, or its user has stopped a pager."""
        late = self._limit and self._clock.seconds() - self._started_at >= self._limit
        if unacknowledged_bytes(self._transport) and not late:
            self._next_check = self._clock.callLater(LINGER, self._check)
        else:
            self._transport.abortConnection()


def unacknowledged_bytes(transport: Any) -> int:
    """Return how many sent bytes the kernel has not yet delivered to the peer's; 0 if it cannot be known."""
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
