"""Options of a connection's socket and transport, set at its beginning: large buffers, no delay, keep-alive."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISystemHandle, ITCPTransport, IUNIXTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol

#: Bytes of one read, and bytes that may wait in a transport's own buffer before its producers are paused.  At 64 KiB,
#: Twisted's default, a gigabyte takes sixteen thousand turns of the reactor.  From 128 KiB on the C library maps each
#: buffer anew and the kernel clears its pages, which costs more than the turns saved.
BUFFER_SIZE: Final = 112 << 10
#: Bytes that the kernel may hold for an engine behind a UNIX socket.  With the default of 208 KiB the engine, which
#: reads 32 KiB at a time, and criwist, which writes 112, wake each other for every few frames.
UNIX_SEND_BUFFER: Final = 1 << 20
#: socket(7); the socket module does not name it.
_SO_SNDBUFFORCE: Final = 32


def set_socket_options(transport: Any) -> None:
    """Prepare a transport for bulk data, as far as it is one of the reactor's own sockets."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport = transport.transport
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BUFFER_SIZE
        transport.SEND_LIMIT = BUFFER_SIZE
    if IUNIXTransport.providedBy(transport):
        _enlarge_send_buffer(transport)
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


def _enlarge_send_buffer(transport: Any) -> None:
    """Let the kernel hold more outgoing bytes.  TCP enlarges its buffers itself, a UNIX socket's has a fixed size."""
    connection: Any = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if connection is None:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, UNIX_SEND_BUFFER)
    except PermissionError:
        # As much as the system allows every process (net.core.wmem_max).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BUFFER)
