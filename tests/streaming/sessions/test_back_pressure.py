"""Back-pressure between the client and the process of an exec."""

from __future__ import annotations

from criwist.streaming.sessions.process_streams import DRAIN_SILENCE
from criwist.streaming.stream import READ_AHEAD
from tests.doubles.memory_network import HIGH_WATER
from tests.streaming.session_doubles import SessionTestCase


class BackPressureTests(SessionTestCase):
    """A reader that does not read stops the writer."""

    def test_a_client_that_does_not_read(self) -> None:
        """The engine's connection is read only while the client's connection has room."""
        client, numbers, process = self.exec_over_spdy()
        client.transport.pauseProducing()
        for _ in range(100):
            process.say(b"x" * 65536)
            self.settle()
        self.assertGreater(process.far.connection.peer.backlog(), 90 * 65536)
        self.assertLess(client.transport.backlog(), HIGH_WATER + 3 * 65536)
        client.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(client.streams[numbers["stdout"]].received), 100 * 65536)

    def test_a_process_that_does_not_read(self) -> None:
        """The client's connection is not read while the stream's read-ahead is full; nothing is lost."""
        client, numbers, process = self.exec_over_spdy(stdin=True)
        process.far.connection.pauseProducing()
        for _ in range(100):
            client.send(numbers["stdin"], b"x" * 65536)
            self.settle()
        held = 100 * 65536 - client.transport.peer.backlog()
        self.assertLess(held, READ_AHEAD + HIGH_WATER + 4 * 65536)
        client.send(numbers["stdin"], b"", fin=True)
        process.far.connection.resumeProducing()
        self.settle()
        self.assertEqual((len(process.far.received), process.far.finished), (100 * 65536, True))

    def test_a_paused_output_is_not_silence(self) -> None:
        """After the process has ended, the session waits until a slow client has read its output."""
        client, numbers, process = self.exec_over_spdy()
        client.transport.pauseProducing()
        for _ in range(20):
            process.say(b"x" * 65536)
            self.settle()
        process.exit(0)
        self.pass_time(10 * DRAIN_SILENCE)
        client.transport.resumeProducing()
        self.pass_time(4 * DRAIN_SILENCE)
        self.assertEqual(len(client.streams[numbers["stdout"]].received), 20 * 65536)
        self.assertTrue(client.streams[numbers["error"]].finished)
