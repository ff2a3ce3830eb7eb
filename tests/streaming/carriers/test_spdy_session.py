"""SPDY peers that misbehave, pings, and the idle limit."""

from __future__ import annotations

import zlib

from criwist.streaming.carriers.spdy import MAX_UNREAD_RESPONSES
from criwist.streaming.linger import LINGER
from criwist.streaming.targets import PortForward
from criwist.wire import spdy_frames as frames
from criwist.wire.spdy import MAX_STREAMS
from criwist.wire.spdy_headers import dictionary
from tests.doubles.memory_runtime import FarEnd
from tests.streaming.session_doubles import SessionTestCase


class SpdySessionTests(SessionTestCase):
    """One session over SPDY."""

    def setUp(self) -> None:
        super().setUp()
        self.runtime.ports[80] = FarEnd
        self.client = self.forward_over_spdy()

    def assert_ended(self, status: int) -> None:
        """Check that the session has ended with a GOAWAY of this status, and the connection with it."""
        self.settle()
        self.assertEqual((self.client.goaway, self.client.lost), (status, True))
        self.assertEqual(self.factory.sessions, {})

    def test_a_malformed_frame(self) -> None:
        """A malformed frame ends the session with PROTOCOL_ERROR."""
        self.client.write(b"\x80\x03\0\x06\0\0\0\x02\0\0")
        self.assert_ended(1)

    def test_an_oversized_header_block(self) -> None:
        """An oversized header block ends the session as soon as its head has arrived."""
        self.client.write(b"\x80\x03\0\x01\0\x7f\xff\xff")
        self.assert_ended(1)

    def test_a_bomb_in_headers(self) -> None:
        """A header block that inflates to more than 64 KiB ends the session."""
        deflate = zlib.compressobj(9, zdict=dictionary())
        plain = b"\0\0\0\1\0\0\0\1a" + (50_000_000).to_bytes(4, "big") + b"\1" * 50_000_000
        block = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
        self.client.write(frames.SynStream(1, block).encode())
        self.assert_ended(1)

    def test_ten_thousand_streams(self) -> None:
        """Streams over the limit are refused; the others stay."""
        for number in range(10_000):
            self.client.open(streamtype="error", port="80", requestid=str(number))
            if not number % 500:
                self.settle()
        self.settle()
        resets = [stream.reset for stream in self.client.streams.values()]
        self.assertTrue(resets[:MAX_STREAMS] == [None] * MAX_STREAMS)
        self.assertTrue(resets[MAX_STREAMS:] == [frames.ResetStatus.REFUSED_STREAM] * (10_000 - MAX_STREAMS))
        self.client.transport.loseConnection()
        self.settle()
        self.assertEqual(self.factory.sessions, {})

    def test_unread_responses(self) -> None:
        """Too many pings of a client that does not read end the session; a few do not."""
        self.client.transport.pauseProducing()
        error = self.client.open(streamtype="error", port="80", requestid="1")
        self.client.open(streamtype="data", port="80", requestid="1")
        self.settle()
        (pod,) = self.runtime.connections
        for _ in range(4):
            pod.connection.write(b"x" * 65536)
            self.settle()
        for _ in range(MAX_UNREAD_RESPONSES // 12 - 10):
            self.client.ping()
        self.settle()
        self.assertFalse(pod.lost)
        for _ in range(20):
            self.client.ping()
        self.settle()
        self.assertTrue(pod.lost)
        self.assertEqual((self.factory.sessions, error), ({}, 1))

    def test_a_unidirectional_stream(self) -> None:
        """A stream without a direction to the client is refused."""
        wire = frames.SynStream(1, self.client.connection._compressor.compress([]), unidirectional=True).encode()
        sent: list[bytes] = []
        self.client.dataReceived = sent.append  # type: ignore[assignment,method-assign]
        self.client.write(wire)
        self.settle()
        self.assertIn(frames.RstStream(1, frames.ResetStatus.REFUSED_STREAM).encode(), b"".join(sent))

    def test_data_for_an_unopened_stream(self) -> None:
        """A stream that was never opened is reset, and the session goes on."""
        sent: list[bytes] = []
        self.client.dataReceived = sent.append  # type: ignore[assignment,method-assign]
        self.client.write(frames.data_head(9, 3, False) + b"abc" + frames.Ping(1).encode())
        self.settle()
        self.assertEqual(b"".join(sent), frames.RstStream(9, 2).encode() + frames.Ping(1).encode())

    def test_more_headers(self) -> None:
        """HEADERS with FIN end a stream's direction, as data with FIN does."""
        self.client.open(streamtype="error", port="80", requestid="1")
        data = self.client.open(streamtype="data", port="80", requestid="1")
        self.client.write(frames.Headers(data, self.client.connection._compressor.compress([]), fin=True).encode())
        self.settle()
        self.assertTrue(self.runtime.connections[0].finished)

    def test_pings(self) -> None:
        """The session replies to pings, and sends its own every PING_INTERVAL."""
        self.client.ping()
        self.pass_time(95, step=5)
        self.assertEqual((self.client.pongs, self.client.pings), (1, 3))

    def test_a_client_that_does_not_close(self) -> None:
        """After the session's end the connection is dropped if the client does not close its side."""
        transport = self.client.transport.peer
        closes: list[str] = []
        transport.loseWriteConnection = lambda: closes.append("half")
        self.factory.shut_down(lambda: None)
        self.client.open(streamtype="error", port="80", requestid="1")
        self.settle()
        self.reactor.advance(LINGER - 1)
        self.settle()
        self.assertEqual((closes, self.client.lost), (["half"], False))
        self.reactor.advance(1)
        self.settle()
        self.assertTrue(self.client.lost)


class IdleTests(SessionTestCase):
    """Sessions with an idle limit."""

    idle_limit = 100.0

    def test_idle_sessions_end(self) -> None:
        """A session without data ends after the idle limit; pings are no data."""
        self.runtime.ports[80] = FarEnd
        client = self.spdy(PortForward("sandbox"), "portforward.k8s.io")
        client.open(streamtype="error", port="80", requestid="1")
        data = client.open(streamtype="data", port="80", requestid="1")
        self.pass_time(90, step=10)
        client.send(data, b"x")
        self.settle()
        self.pass_time(90, step=10)
        self.assertEqual(client.goaway, None)
        self.runtime.connections[0].connection.write(b"y")
        self.settle()
        self.pass_time(90, step=10)
        self.assertEqual(client.goaway, None)
        self.pass_time(20, step=10)
        self.assertEqual(client.goaway, 0)

    def test_idle_websockets_end(self) -> None:
        """A WebSocket without data closes after the idle limit, with code 1001."""
        self.runtime.ports[80] = FarEnd
        client = self.websocket(PortForward("sandbox", (80,)), "v4.channel.k8s.io")
        self.pass_time(90, step=10)
        self.assertEqual(client.closed, None)
        self.pass_time(20, step=10)
        self.assertEqual(client.closed, 1001)
