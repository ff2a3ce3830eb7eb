"""Writing past a transport's buffer."""

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

from criwist.streaming.direct_writer import DirectWriter, _rest
from criwist.streaming.linger import BULK


class Socket:
    """Takes as many bytes as it has room for."""

    def __init__(self) -> None:
        self.room = 10**9
        self.taken = b""
        self.calls = 0

    def sendmsg(self, chunks: Sequence[Any]) -> int:
        """Take what there is room for."""
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
        """Watch."""

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


class OutletTests(SynchronousTestCase):
    """Bytes leave at once, or in order after those that could not."""

    def setUp(self) -> None:
        self.transport = Descriptor()
        self.told: list[str] = []

    def outlet(self) -> DirectWriter:
        """An outlet through the transport, whose buffer is empty and known to be."""
        outlet = DirectWriter(self.transport, lambda: self.told.append("full"), lambda: self.told.append("ready"))
        outlet.send((b"first",))
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"first")
        self.transport.socket.taken = b""
        return outlet

    def test_at_once(self) -> None:
        """With nothing in the buffer, chunks go out at once and in one call."""
        outlet = self.outlet()
        calls = self.transport.socket.calls
        outlet.send((b"ab", memoryview(b"cd")))
        self.assertEqual((self.transport.socket.taken, self.transport.socket.calls), (b"abcd", calls + 1))

    def test_after_what_was_written_before(self) -> None:
        """What was written to the transport before the outlet was made goes out first."""
        self.transport.write(b"before")
        outlet = DirectWriter(self.transport, lambda: None, lambda: None)
        outlet.send((b"after",))
        self.assertEqual(self.transport.socket.taken, b"")
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"beforeafter")

    def test_what_the_kernel_does_not_take(self) -> None:
        """The rest is buffered, and the outlet full until it is out."""
        outlet = self.outlet()
        self.transport.socket.room = 3
        outlet.send((b"ab", b"cd", b"ef"))
        outlet.send((b"gh",))
        self.assertEqual((self.transport.socket.taken, self.told, outlet.is_full), (b"abc", ["full"], True))
        self.transport.socket.room = 2
        self.transport.doWrite()
        self.assertEqual(self.told, ["full"])
        self.transport.socket.room = 100
        self.transport.doWrite()
        self.assertEqual((self.transport.socket.taken, self.told), (b"abcdefgh", ["full", "ready"]))
        outlet.send((b"ij",))
        self.assertEqual(self.transport.socket.taken, b"abcdefghij")

    def test_a_kernel_that_takes_nothing(self) -> None:
        """All of it is buffered."""
        outlet = self.outlet()
        self.transport.socket.room = 0
        outlet.send((b"ab",))
        self.transport.socket.room = 10
        self.transport.doWrite()
        self.assertEqual((self.transport.socket.taken, self.told), (b"ab", ["full", "ready"]))

    def test_before_the_first_is_out(self) -> None:
        """Until the buffer has been empty once, too much in it is full too."""
        outlet = DirectWriter(self.transport, lambda: self.told.append("full"), lambda: self.told.append("ready"))
        outlet.send((b"x" * BULK,))
        self.assertEqual(self.told, [])
        outlet.send((b"x",))
        self.assertEqual(self.told, ["full"])

    def test_many_chunks(self) -> None:
        """More chunks than a system call takes go out all the same."""
        outlet = self.outlet()
        outlet.send([b"x"] * 5000)
        self.transport.doWrite()
        self.assertEqual(self.transport.socket.taken, b"x" * 5000)

    def test_closed(self) -> None:
        """A closed outlet sends nothing and has let go of the transport."""
        outlet = self.outlet()
        outlet.close()
        outlet.close()
        outlet.send((b"x",))
        self.assertEqual((self.transport.socket.taken, self.transport.producer), (b"", None))

    def test_lost(self) -> None:
        """After the connection is lost nothing is sent."""
        outlet = self.outlet()
        outlet.stopProducing()
        outlet.send((b"x",))
        self.assertEqual(self.transport.socket.taken, b"")

    def test_other_transports(self) -> None:
        """What is no socket is written to, and says itself when it is full."""
        transport = StringTransport()
        outlet = DirectWriter(transport, lambda: self.told.append("full"), lambda: self.told.append("ready"))
        outlet.send((b"ab", memoryview(b"cd")))
        self.assertEqual((transport.value(), transport.streaming), (b"abcd", True))
        transport.producer.pauseProducing()  # type: ignore[union-attr]
        transport.producer.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual(self.told, ["full", "ready"])


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 30))
def test_the_rest_is_what_was_not_sent(chunks: list[bytes], sent: int) -> None:
    """Whatever the kernel took, the rest is what follows it."""
    assert _rest(chunks, sent) == b"".join(chunks)[sent:]
