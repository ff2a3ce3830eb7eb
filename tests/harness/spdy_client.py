"""A SPDY client that costs little, so that what is measured is the server: blocking, one socket, counting bytes.

Data is sent as kubectl sends it, in frames of 32 KiB; what comes is counted and thrown away, unless it is little.
"""

from __future__ import annotations

import socket
import ssl
import struct
from urllib.parse import urlsplit

from criwist.wire.spdy_frames import MAX_STREAM_ID, FrameType, Ping, SynStream, data_head
from criwist.wire.spdy_headers import HeaderCompressor

FRAME = 32 << 10
#: Frames handed to the kernel at once.
_BATCH = 8
_HEAD = struct.Struct(">II")
#: Bytes of a stream that are kept.
_KEPT = 4096


class Refused(Exception):
    """The server answered otherwise; 0 if it did not."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(f"{status}: {answer!r}")
        self.status = status
        self.answer = answer


class Client:
    """A connection to the URL of an exec, an attach or a port-forward, after the upgrade.

    :param version: the one that is offered.
    :param tls: for https.
    :raises Refused: the server does not upgrade.
    """

    def __init__(self, url: str, version: str = "v4.channel.k8s.io", *, tls: ssl.SSLContext | None = None) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=where.hostname)
        self._compressor = HeaderCompressor()
        self._next = 1
        self._buffer = bytearray(1 << 20)
        self._pending = b""
        self._stream = 0
        self._left = 0
        self._fin = False
        #: By stream: bytes received, and the first of them.
        self.counts: dict[int, int] = {}
        self.heads: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.replied = 0
        lines = [f"POST {where.path} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"X-Stream-Protocol-Version: {version}", "Content-Length: 0", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = self.socket.recv(4096)
            if not received:
                raise Refused(0, answer)
            answer += received
        if b" 101 " not in answer[:16]:
            raise Refused(int(answer.split()[1]), answer)
        self._take(memoryview(answer.partition(b"\r\n\r\n")[2]))

    def open(self, **headers: str) -> int:
        """Open a stream; returns its number."""
        return self.open_all(headers)[0]

    def open_all(self, *streams: dict[str, str]) -> list[int]:
        """Open several streams with one system call."""
        numbers, wire = [], b""
        for headers in streams:
            number, self._next = self._next, self._next + 2
            block = self._compressor.compress([(name.encode(), value.encode()) for name, value in headers.items()])
            wire += SynStream(number, block).encode()
            self.counts[number] = 0
            self.heads[number] = bytearray()
            numbers.append(number)
        self.socket.sendall(wire)
        return numbers

    def send(self, number: int, data: bytes) -> None:
        """Send a little."""
        self.socket.sendall(data_head(number, len(data), False) + data)

    def finish(self, *numbers: int) -> None:
        """End our direction of these streams."""
        self.socket.sendall(b"".join(data_head(number, 0, True) for number in numbers))

    def flood(self, number: int, count: int) -> None:
        """Send *count* bytes, and the end of the stream."""
        batch = (data_head(number, FRAME, False) + bytes(FRAME)) * _BATCH
        for _ in range(count // (FRAME * _BATCH)):
            self.socket.sendall(batch)
        rest = count % (FRAME * _BATCH)
        self.socket.sendall(data_head(number, rest, True) + bytes(rest))

    def wait_for(self, *numbers: int) -> None:
        """Receive until these streams are finished."""
        view = memoryview(self._buffer)
        while not self.finished.issuperset(numbers):
            count = self.socket.recv_into(self._buffer)
            if not count:
                raise RuntimeError("the server closed the connection")
            self._take(view[:count])

    def wait_for_data(self, *numbers: int, end: bytes = b"") -> None:
        """Receive until something has come on each of these streams, which ends with *end*."""
        view = memoryview(self._buffer)
        for number in numbers:
            while not self.counts[number] or not self.heads[number].endswith(end):
                count = self.socket.recv_into(self._buffer)
                if not count:
                    raise RuntimeError("the server closed the connection")
                self._take(view[:count])

    def wait_for_replies(self, count: int) -> None:
        """Receive until the server has accepted that many streams."""
        view = memoryview(self._buffer)
        while self.replied < count:
            self._take(view[: self.socket.recv_into(self._buffer)])

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def _take(self, view: memoryview) -> None:
        position, end = 0, len(view)
        while position < end or (self._fin and not self._left):
            if self._left:
                size = min(self._left, end - position)
                kept = self.heads[self._stream]
                if len(kept) < _KEPT:
                    kept += view[position : position + size][: _KEPT - len(kept)]
                self.counts[self._stream] += size
                self._left -= size
                position += size
            if not self._left and self._fin:
                self.finished.add(self._stream)
                self._fin = False
            elif not self._left:
                used = self._head(view, position)
                if not used:
                    self._pending += bytes(view[position:])
                    return
                position += used

    def _head(self, view: memoryview, position: int) -> int:
        """Read a head, and a control frame with it; returns the bytes taken, 0 if it is not whole."""
        before = len(self._pending)
        head = self._pending + bytes(view[position : position + 8 - before]) if before < 8 else self._pending
        if len(head) < 8:
            return 0
        word, rest = _HEAD.unpack_from(head)
        length: int = rest & 0xFFFFFF
        if word <= MAX_STREAM_ID:
            self._stream, self._left, self._fin = word, length, bool(rest >> 24 & 1)
            self._pending = b""
            return 8 - before
        whole = self._pending + bytes(view[position : position + 8 + length - before])
        if len(whole) < 8 + length:
            return 0
        self._pending = b""
        if word & 0xFFFF == FrameType.SYN_REPLY:
            self.replied += 1
        elif word & 0xFFFF == FrameType.PING:
            self.socket.sendall(Ping(int.from_bytes(whole[8:12], "big")).encode())
        elif word & 0xFFFF == FrameType.RST_STREAM:
            self.finished.add(int.from_bytes(whole[8:12], "big"))
        return 8 + length - before
