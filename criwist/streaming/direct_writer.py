"""Writing bulk data to a transport, past its buffer while nothing is in it.

A transport's ``write`` copies its chunks together, asks the reactor to wait until the socket is writable, and sends
them in the reactor's next turn.  For a stream of large chunks that is one copy and two system calls too many for
each.  So as long as the transport has nothing of its own to send, chunks go to the socket at once, from where they lie;
what the kernel does not take is the transport's to send, and until it has sent it the outlet is full.

The outlet is the transport's producer: a pull producer, since those are told when the buffer is empty.  Transports
that are no plain sockets (TLS, a tunnel) are written to and pushed back by as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPullProducer, IPushProducer, ISystemHandle
from zope.interface import implementer

from criwist.streaming.linger import BULK

#: Chunks of one system call; Linux takes 1024 (IOV_MAX).
_MAX_CHUNKS: Final = 1024


@implementer(IPushProducer, IPullProducer)
class DirectWriter:
    """The way out through *transport*, which nobody else writes to.

    :param full: called when producers are to pause.
    :param ready: called when they may go on.
    """

    def __init__(self, transport: Any, full: Callable[[], None], ready: Callable[[], None]) -> None:
        self.is_full = False
        self._transport = transport
        self._full = full
        self._ready = ready
        self._plain = isinstance(transport, FileDescriptor) and ISystemHandle.providedBy(transport)
        self._closed = False
        #: Bytes that the transport has got from us since its buffer was last empty.
        self._buffered = 0
        if self._plain:
            self._socket = transport.getHandle()
        transport.registerProducer(self, not self._plain)
        #: The transport's buffer is empty.  What was written before us may still be in it; the end of our first
        #: write, which lies behind it, will tell.
        self._direct = False

    def send(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Send the chunks, which may be reused afterwards."""
        if self._closed:
            return
        if not self._direct or len(chunks) > _MAX_CHUNKS:
            self._buffer(b"".join(chunks))
            return
        try:
            sent = self._socket.sendmsg(chunks)
        except OSError:
            # Full, or broken, which the transport will find out and tell.
            sent = 0
        if sent < sum(map(len, chunks)):
            self._buffer(_rest(chunks, sent))
            self._set_full()

    def _buffer(self, data: bytes) -> None:
        self._direct = False
        self._transport.write(data)
        self._buffered += len(data)
        # Other transports say so themselves.
        if self._plain and self._buffered > BULK:
            self._set_full()

    def close(self) -> bool:
        """Let go of the transport: nothing more is sent through this outlet.

        :return: whether there was a transport to let go of; False if it is lost, or was let go of before.
        """
        if self._closed:
            return False
        self._closed = True
        self._transport.unregisterProducer()
        return True

    def _set_full(self) -> None:
        if not self.is_full:
            self.is_full = True
            self._full()

    # -- For the transport

    def pauseProducing(self) -> None:
        """Its buffer is full (push)."""
        self._set_full()

    def resumeProducing(self) -> None:
        """Its buffer is empty (pull), or no longer full (push)."""
        self._direct = self._plain
        self._buffered = 0
        if self.is_full:
            self.is_full = False
            self._ready()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._closed = True


def _rest(chunks: Sequence[bytes | memoryview], sent: int) -> bytes:
    """What comes after the first *sent* bytes."""
    position = 0
    for index, chunk in enumerate(chunks):
        if position + len(chunk) > sent:
            return b"".join([memoryview(chunk)[sent - position :], *chunks[index + 1 :]])
        position += len(chunk)
    return b""
