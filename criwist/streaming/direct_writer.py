"""Writing bulk data directly to a transport's socket, while the transport's own buffer is empty.

A transport's ``write`` copies its chunks together, asks the reactor to wait until the socket is writable, and sends
them in the reactor's next turn.  For a stream of large chunks that is one copy and two system calls too many for each
chunk.  So while the transport's buffer is empty, the writer passes chunks to the socket at once, without a copy.  The
transport buffers and sends the bytes that the kernel does not take; until it has sent them the writer is full.

The writer is the transport's producer: a pull producer, because a transport resumes a pull producer when its buffer is
empty.  To a transport that is not a plain socket (TLS, a tunnel) the writer is an ordinary push producer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPullProducer, IPushProducer, ISystemHandle
from zope.interface import implementer

from criwist.streaming.socket_options import BUFFER_SIZE

#: Chunks of one system call; Linux accepts 1024 (IOV_MAX).
_MAX_CHUNKS: Final = 1024


@implementer(IPushProducer, IPullProducer)
class DirectWriter:
    """The only writer to *transport*.

    :param full: called when the writer becomes full: producers must pause.
    :param ready: called when the writer has room again.
    """

    def __init__(self, transport: Any, full: Callable[[], None], ready: Callable[[], None]) -> None:
        self.is_full = False
        self._transport = transport
        self._full = full
        self._ready = ready
        self._is_socket = isinstance(transport, FileDescriptor) and ISystemHandle.providedBy(transport)
        self._closed = False
        #: Bytes that the transport has got from this writer since its buffer was last empty.
        self._buffered = 0
        if self._is_socket:
            self._socket = transport.getHandle()
        transport.registerProducer(self, not self._is_socket)
        #: The transport's buffer is empty.  At first it may hold bytes that were written before this writer existed; it
        #: is known to be empty when the transport has sent the writer's first bytes, which lie behind them.
        self._direct = False

    def send(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Send the chunks; the caller may reuse their memory afterwards."""
        if self._closed:
            return
        if not self._direct or len(chunks) > _MAX_CHUNKS:
            self._buffer(b"".join(chunks))
            return
        try:
            sent = self._socket.sendmsg(chunks)
        except OSError:
            # The socket is full or broken; the transport will find out and report it.
            sent = 0
        if sent < sum(map(len, chunks)):
            self._buffer(_unsent(chunks, sent))
            self._set_full()

    def _buffer(self, data: bytes) -> None:
        self._direct = False
        self._transport.write(data)
        self._buffered += len(data)
        # Other transports call pauseProducing.
        if self._is_socket and self._buffered > BUFFER_SIZE:
            self._set_full()

    def close(self) -> bool:
        """Release the transport: this writer sends nothing more.

        :return: whether there was a transport to release; False if the connection is lost, or the writer was closed.
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
        """The transport's buffer is full (push producer)."""
        self._set_full()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty (pull producer), or no longer full (push producer)."""
        self._direct = self._is_socket
        self._buffered = 0
        if self.is_full:
            self.is_full = False
            self._ready()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._closed = True


def _unsent(chunks: Sequence[bytes | memoryview], sent: int) -> bytes:
    """Return the bytes after the first *sent* bytes."""
    position = 0
    for index, chunk in enumerate(chunks):
        if position + len(chunk) > sent:
            return b"".join([memoryview(chunk)[sent - position :], *chunks[index + 1 :]])
        position += len(chunk)
    return b""
