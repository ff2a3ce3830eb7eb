"""The end of a connection whose client still has something to read."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ISystemHandle
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.streaming.linger import LINGER, Linger, unacknowledged


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport with a socket of its own."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handle = handle
        self.half_closed = False

    def getHandle(self) -> socket.socket:
        """The socket."""
        return self._handle

    def loseWriteConnection(self) -> None:
        """Note it."""
        self.half_closed = True


class FarewellTests(SynchronousTestCase):
    """A connection is dropped when its client has got everything and does not close."""

    def setUp(self) -> None:
        self.clock = Clock()
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.transport = SocketTransport(ours)
        self.transport.registerProducer(self, True)

    def test_what_is_not_read_yet(self) -> None:
        """The kernel tells how much the peer has still to take."""
        self.assertEqual(unacknowledged(self.transport), 0)
        self.transport.getHandle().sendall(b"x" * 1000)
        self.assertGreater(unacknowledged(self.transport), 0)
        self.theirs.recv(1000)
        self.assertEqual(unacknowledged(self.transport), 0)
        self.assertEqual(unacknowledged(StringTransport()), 0)

    def test_a_client_that_reads_late(self) -> None:
        """It is waited for as long as it has something to read, and a moment longer."""
        self.transport.getHandle().sendall(b"x" * 1000)
        farewell = Linger(self.transport, self.clock)
        farewell.begin()
        for _ in range(100):
            self.clock.advance(LINGER)
        self.assertEqual((self.transport.half_closed, self.transport.disconnected), (True, False))
        self.theirs.recv(1000)
        self.clock.advance(LINGER)
        self.assertTrue(self.transport.disconnected)

    def test_a_limit(self) -> None:
        """With a limit it is not waited for longer."""
        self.transport.getHandle().sendall(b"x" * 1000)
        Linger(self.transport, self.clock, 60.0).begin()
        for _ in range(12):
            self.assertFalse(self.transport.disconnected)
            self.clock.advance(LINGER)
        self.assertTrue(self.transport.disconnected)

    def test_over(self) -> None:
        """When the connection is gone nothing is left to do."""
        farewell = Linger(self.transport, self.clock)
        farewell.begin()
        farewell.over()
        self.assertEqual(self.clock.getDelayedCalls(), [])
