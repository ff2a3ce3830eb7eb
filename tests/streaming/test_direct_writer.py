"""Writing directly to a transport's socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.streaming.direct_writer import DirectWriter, _unsent
from criwist.streaming.socket_options import BUFFER_SIZE


class Socket:
    """A socket that accepts as many bytes as it has room for."""

    def __init__(self) -> None:
        self.room = 10**9
        self.taken = b""
        self.calls = 0

    def sendmsg(self, chunks: Sequence[Any]) -> int:
        """Accept bytes up to the room."""
        self.calls += 1
        data = b"".join(chunks)[: self.room]
        if not data:
            raise BlockingIOError
        self.room -= len(data)
        self.taken += data
        return len(data)


class Watcher:
    """A reactor that watches nothing."""

    def addWriter(self, writer: object) -> None:
        """Do nothing."""

    removeWriter = addReader = removeReader = addWriter


@implementer(ISystemHandle)
class Descriptor(FileDescriptor):
    """A transport over a :class:`Socket`."""

    connected = 1

    def __init__(self) -> None:
        super().__init__(Watcher())  # type: ignore[arg-type]
        self.socket = Socket()

    def getHandle(self) -> Socket:
        return self.socket

    def writeSomeData(self, data: bytes) -> int:
        try:
            return self.socket.sendmsg([data])
        except BlockingIOError:
            return 0


class DirectWriterTests(SynchronousTestCase):
    """Bytes are sent at once, or in order after those that are buffered."""

    def setUp(self) -> None:
        self.transport = Descriptor()
        self.calls: list[str] = []

    def writer(self) -> DirectWriter:
        """Return a writer to the transport, whose buffer is known to be empty."""
        writer = DirectWriter(self.transport, lambda: self.calls.append("full"), lambda: self.calls.append("ready"))
        writer.send((b"first",))
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"first")
        self.transport.socket.taken = b""
        return writer

    def test_at_once(self) -> None:
        """With an empty buffer, chunks are sent at once and in one call."""
        writer = self.writer()
        calls = self.transport.socket.calls
        writer.send((b"ab", memoryview(b"cd")))
        self.assertEqual((self.transport.socket.taken, self.transport.socket.calls), (b"abcd", calls + 1))

    def test_bytes_written_before(self) -> None:
        """Bytes that were written to the transport before the writer existed are sent first."""
        self.transport.write(b"before")
        writer = DirectWriter(self.transport, lambda: None, lambda: None)
        writer.send((b"after",))
        self.assertEqual(self.transport.socket.taken, b"")
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"beforeafter")

    def test_a_partial_send(self) -> None:
        """The unsent rest is buffered, and the writer is full until it is sent."""
        writer = self.writer()
        self.transport.socket.room = 3
        writer.send((b"ab", b"cd", b"ef"))
        writer.send((b"gh",))
        self.assertEqual((self.transport.socket.taken, self.calls, writer.is_full), (b"abc", ["full"], True))
        self.transport.socket.room = 2
        self.transport.doWrite()
        self.assertEqual(self.calls, ["full"])
        self.transport.socket.room = 100
        self.transport.doWrite()
        self.assertEqual((self.transport.socket.taken, self.calls), (b"abcdefgh", ["full", "ready"]))
        writer.send((b"ij",))
        self.assertEqual(self.transport.socket.taken, b"abcdefghij")

    def test_a_full_socket(self) -> None:
        """All bytes are buffered if the kernel accepts none."""
        writer = self.writer()
        self.transport.socket.room = 0
        writer.send((b"ab",))
        self.transport.socket.room = 10
        self.transport.doWrite()
        self.assertEqual((self.transport.socket.taken, self.calls), (b"ab", ["full", "ready"]))

    def test_full_before_the_first_send(self) -> None:
        """Before the buffer has been empty once, more than BUFFER_SIZE bytes in it make the writer full."""
        writer = DirectWriter(self.transport, lambda: self.calls.append("full"), lambda: self.calls.append("ready"))
        writer.send((b"x" * BUFFER_SIZE,))
        self.assertEqual(self.calls, [])
        writer.send((b"x",))
        self.assertEqual(self.calls, ["full"])

    def test_many_chunks(self) -> None:
        """More chunks than a system call accepts are all sent."""
        writer = self.writer()
        writer.send([b"x"] * 5000)
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"x" * 5000)

    def test_closed(self) -> None:
        """A closed writer sends nothing and has released the transport."""
        writer = self.writer()
        writer.close()
        writer.close()
        writer.send((b"x",))
        self.assertEqual((self.transport.socket.taken, self.transport.producer), (b"", None))

    def test_lost(self) -> None:
        """After the connection is lost the writer sends nothing."""
        writer = self.writer()
        writer.stopProducing()
        writer.send((b"x",))
        self.assertEqual(self.transport.socket.taken, b"")

    def test_other_transports(self) -> None:
        """A transport that is not a socket is written to, and pauses the writer when it is full."""
        transport = StringTransport()
        writer = DirectWriter(transport, lambda: self.calls.append("full"), lambda: self.calls.append("ready"))
        writer.send((b"ab", memoryview(b"cd")))
        self.assertEqual((transport.value(), transport.streaming), (b"abcd", True))
        transport.producer.pauseProducing()  # type: ignore[union-attr]
        transport.producer.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual(self.calls, ["full", "ready"])


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 30))
def test_unsent_bytes(chunks: list[bytes], sent: int) -> None:
    """The unsent bytes are those after the sent ones, wherever chunks begin and end."""
    assert _unsent(chunks, sent) == b"".join(chunks)[sent:]
