"""Ending a connection whose client has not yet received everything."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ISystemHandle
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.streaming.linger import LINGER, Linger, unacknowledged_bytes


@implementer(ISystemHandle)
class SocketTransport(StringTransport):
    """A transport with a socket of its own."""

    def __init__(self, handle: socket.socket) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handle = handle
        self.half_closed = False

    def getHandle(self) -> socket.socket:
        return self._handle

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class LingerTests(SynchronousTestCase):
    """A connection is dropped when its client has received everything and does not close."""

    def setUp(self) -> None:
        self.clock = Clock()
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.transport = SocketTransport(ours)
        self.transport.registerProducer(self, True)

    def test_unread_bytes(self) -> None:
        """The kernel reports how many bytes the peer has not read yet."""
        self.assertEqual(unacknowledged_bytes(self.transport), 0)
        self.transport.getHandle().sendall(b"x" * 1000)
        self.assertGreater(unacknowledged_bytes(self.transport), 0)
        self.theirs.recv(1000)
        self.assertEqual(unacknowledged_bytes(self.transport), 0)
        self.assertEqual(unacknowledged_bytes(StringTransport()), 0)

    def test_a_slow_reader(self) -> None:
        """The connection stays until the client has received everything, and LINGER seconds longer."""
        self.transport.getHandle().sendall(b"x" * 1000)
        linger = Linger(self.transport, self.clock)
        linger.start()
        for _ in range(100):
            self.clock.advance(LINGER)
        self.assertEqual((self.transport.half_closed, self.transport.disconnected), (True, False))
        self.theirs.recv(1000)
        self.clock.advance(LINGER)
        self.assertTrue(self.transport.disconnected)

    def test_a_limit(self) -> None:
        """A client that does not read is dropped after the limit."""
        self.transport.getHandle().sendall(b"x" * 1000)
        Linger(self.transport, self.clock, 60.0).start()
        for _ in range(12):
            self.assertFalse(self.transport.disconnected)
            self.clock.advance(LINGER)
        self.assertTrue(self.transport.disconnected)

    def test_connection_lost(self) -> None:
        """No timer is left when the connection is lost."""
        linger = Linger(self.transport, self.clock)
        linger.start()
        linger.connection_lost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
