"""Port-forward: over SPDY, tunnelled in a WebSocket, and over channels."""

from __future__ import annotations

from typing import Any

from criwist.streaming.sessions.port_forward import PAIR_WAIT
from criwist.streaming.targets import PortForward
from criwist.wire.spdy import MAX_STREAMS, SpdyConnection
from criwist.wire.spdy_events import StreamReplied
from criwist.wire.spdy_reader import DataReceived
from tests.doubles.memory_network import HIGH_WATER
from tests.doubles.memory_runtime import FarEnd
from tests.doubles.streaming_peers import WebSocketClient
from tests.streaming.session_doubles import SessionTestCase

TUNNEL = "SPDY/3.1+portforward.k8s.io"


class SpdyForwardTests(SessionTestCase):
    """Pairs of streams over SPDY."""

    def setUp(self) -> None:
        super().setUp()
        self.runtime.ports[80] = FarEnd
        self.client = self.forward_over_spdy()

    def pair(self, port: str = "80", request: str = "1") -> tuple[int, int]:
        """Open both streams of a connection; return error and data."""
        error = self.client.open(streamtype="error", port=port, requestid=request)
        data = self.client.open(streamtype="data", port=port, requestid=request)
        self.settle()
        return error, data

    def test_bytes_go_both_ways(self) -> None:
        """The client's bytes reach the pod, and the pod's bytes reach the client."""
        _, data = self.pair()
        self.client.send(data, b"question")
        self.settle()
        (pod,) = self.runtime.connections
        pod.connection.write(b"answer")
        self.settle()
        self.assertEqual((pod.received, self.client.streams[data].received), (b"question", b"answer"))

    def test_the_client_s_half_close(self) -> None:
        """The pod gets the end of the client's bytes, and responds after it; the connection ends without an error."""
        error, data = self.pair()
        self.client.send(data, b"question", fin=True)
        self.settle()
        (pod,) = self.runtime.connections
        self.assertEqual((pod.received, pod.finished, pod.lost), (b"question", True, False))
        pod.connection.write(b"answer")
        pod.connection.loseConnection()
        self.settle()
        streams = self.client.streams
        self.assertEqual((streams[data].received, streams[data].finished), (b"answer", True))
        self.assertEqual((streams[error].received, streams[error].finished), (b"", True))

    def test_the_pod_s_half_close(self) -> None:
        """The client gets the end of the pod's bytes, and may go on sending."""
        error, data = self.pair()
        (pod,) = self.runtime.connections
        pod.connection.write(b"greeting")
        pod.connection.loseWriteConnection()
        self.settle()
        self.assertTrue(self.client.streams[data].finished)
        self.assertEqual((self.client.streams[error].received, self.client.streams[error].finished), (b"", True))
        self.client.send(data, b"still here", fin=True)
        self.settle()
        self.assertEqual((pod.received, pod.finished), (b"still here", True))

    def test_a_client_that_never_closes_its_direction(self) -> None:
        """The connection is closed after the pod has closed its direction and the client is silent for a minute."""
        _, data = self.pair()
        (pod,) = self.runtime.connections
        pod.connection.loseWriteConnection()
        for _ in range(3):
            self.pass_time(50, step=10)
            self.client.send(data, b"x")
            self.settle()
        self.assertEqual((pod.received, pod.lost), (b"xxx", False))
        self.pass_time(130, step=10)
        self.assertTrue(pod.lost)

    def test_streams_in_the_other_order(self) -> None:
        """The data stream may come first."""
        data = self.client.open(streamtype="data", port="80", requestid="1")
        self.client.send(data, b"early")
        error = self.client.open(streamtype="error", port="80", requestid="1")
        self.settle()
        self.assertEqual(self.runtime.connections[0].received, b"early")
        self.assertTrue(self.client.streams[error].replied)

    def test_clients_without_request_ids(self) -> None:
        """The oldest clients open the data stream right after the error stream."""
        self.client.open(streamtype="error", port="80")
        data = self.client.open(streamtype="data", port="80")
        self.client.send(data, b"x")
        self.settle()
        self.assertEqual(self.runtime.connections[0].received, b"x")

    def test_a_port_without_a_listener(self) -> None:
        """The error stream carries the error and ends; another connection goes on."""
        _, good = self.pair(request="1")
        error, data = self.pair(port="81", request="2")
        streams = self.client.streams
        self.assertIn(b"error forwarding port 81", streams[error].received)
        self.assertIn(b"refused", streams[error].received)
        self.assertTrue(streams[error].finished)
        self.assertTrue(streams[data].finished)
        self.client.send(good, b"x")
        self.settle()
        self.assertEqual(self.runtime.connections[0].received, b"x")

    def test_a_connection_that_breaks(self) -> None:
        """When the pod resets the connection, the error stream carries an error."""
        error, data = self.pair()
        self.runtime.connections[0].connection.abortConnection()
        self.settle()
        self.assertIn(b"broke", self.client.streams[error].received)
        self.assertTrue(self.client.streams[data].finished)

    def test_a_client_that_resets_its_stream(self) -> None:
        """The pod's connection is dropped, and the error stream ends empty, because kubectl waits for its end."""
        error, data = self.pair()
        self.client.reset(data)
        self.settle()
        self.assertTrue(self.runtime.connections[0].lost)
        self.assertEqual((self.client.streams[error].received, self.client.streams[error].finished), (b"", True))

    def test_a_client_that_disconnects(self) -> None:
        """All connections of a client that disconnects are dropped."""
        for number in range(5):
            self.pair(request=str(number))
        self.client.transport.loseConnection()
        self.settle()
        self.assertTrue(all(pod.lost for pod in self.runtime.connections))
        self.assertEqual(self.factory.sessions, {})

    def test_an_unpaired_stream(self) -> None:
        """An unpaired stream is reset after PAIR_WAIT seconds; the session goes on."""
        alone = self.client.open(streamtype="error", port="80", requestid="1")
        self.settle()
        self.pass_time(PAIR_WAIT + 1, step=1)
        self.assertNotEqual(self.client.streams[alone].reset, None)
        _, data = self.pair(request="2")
        self.client.send(data, b"x")
        self.settle()
        self.assertEqual(self.runtime.connections[0].received, b"x")

    def test_clients_that_never_finish_their_streams(self) -> None:
        """Ended connections do not count towards the limit, although the client has not closed its streams."""
        for number in range(MAX_STREAMS):
            _, data = self.pair(request=str(number))
            self.runtime.connections.pop().connection.loseConnection()
            self.settle()
            self.assertTrue(self.client.streams[data].finished)
            self.assertIsNone(self.client.streams[data].reset)

    def test_invalid_streams(self) -> None:
        """A stream without a role or a port, or that fits no pair, is refused."""
        self.client.open(streamtype="error", port="80", requestid="1")
        wrong = [
            self.client.open(**headers)  # type: ignore[arg-type]
            for headers in (
                {"streamtype": "stdout", "port": "80", "requestid": "2"},
                {"port": "80", "requestid": "2"},
                {"streamtype": "data", "requestid": "2"},
                {"streamtype": "data", "port": "0", "requestid": "2"},
                {"streamtype": "data", "port": "65536", "requestid": "2"},
                {"streamtype": "data", "port": "8o", "requestid": "2"},
                {"streamtype": "error", "port": "80", "requestid": "1"},
                {"streamtype": "data", "port": "81", "requestid": "1"},
            )
        ]
        self.settle()
        self.assertEqual([self.client.streams[number].reset for number in wrong], [3] * len(wrong))
        self.client.open(streamtype="data", port="80", requestid="1")
        self.settle()
        self.assertEqual(len(self.runtime.connections), 1)

    def test_a_client_that_does_not_read_stops_the_pod(self) -> None:
        """The pod's bytes wait in the pod; nothing is lost."""
        _, data = self.pair()
        (pod,) = self.runtime.connections
        self.client.transport.pauseProducing()
        for _ in range(100):
            pod.connection.write(b"x" * 65536)
            self.settle()
        self.assertLess(self.client.transport.backlog(), HIGH_WATER + 3 * 65536)
        self.client.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(self.client.streams[data].received), 100 * 65536)

    def test_a_pod_that_does_not_read_stops_the_client(self) -> None:
        """The client's bytes wait in the client; nothing is lost."""
        _, data = self.pair()
        (pod,) = self.runtime.connections
        pod.connection.pauseProducing()
        for _ in range(100):
            self.client.send(data, b"x" * 65536)
            self.settle()
        self.assertGreater(self.client.transport.peer.backlog(), 80 * 65536)
        pod.connection.resumeProducing()
        self.settle()
        self.assertEqual(len(pod.received), 100 * 65536)

    def test_shutdown(self) -> None:
        """A shutdown ends the session with GOAWAY."""
        self.pair()
        self.factory.shut_down(lambda: None)
        self.settle()
        self.assertEqual(self.client.goaway, 0)


class TunnelledClient(WebSocketClient):
    """A SPDY client in a WebSocket."""

    def __init__(self, target: str) -> None:
        super().__init__(target, (TUNNEL,))
        self.spdy = SpdyConnection(server=False)
        self.seen: dict[int, bytes] = {}
        self.replies = 0

    def read(self) -> None:
        """Parse the received messages as SPDY."""
        messages, self.messages = self.messages, []
        for event in (event for message in messages for event in self.spdy.receive_data(message)):  # type: ignore[arg-type]
            if isinstance(event, DataReceived):
                self.seen[event.stream_id] = self.seen.get(event.stream_id, b"") + bytes(event.data)
            self.replies += isinstance(event, StreamReplied)


class TunnelTests(SessionTestCase):
    """SPDY inside binary messages."""

    def setUp(self) -> None:
        super().setUp()
        self.runtime.ports[80] = FarEnd
        self.client: Any = self.connect(TunnelledClient(self.target(PortForward("sandbox"))))

    def headers(self, role: bytes) -> list[tuple[bytes, bytes]]:
        """Return the headers of a stream."""
        return [(b"streamtype", role), (b"port", b"80"), (b"requestid", b"1")]

    def test_a_connection(self) -> None:
        """Bytes go both ways, whatever the bounds of the messages."""
        self.assertEqual(self.client.chosen, TUNNEL)
        _, error = self.client.spdy.open_stream(self.headers(b"error"))
        number, data = self.client.spdy.open_stream(self.headers(b"data"))
        wire = error + data + self.client.spdy.data(number, 8) + b"question"
        for start in range(0, len(wire), 7):
            self.client.send(wire[start : start + 7])
        self.settle()
        (pod,) = self.runtime.connections
        self.assertEqual(pod.received, b"question")
        pod.connection.write(b"answer")
        self.settle()
        self.client.read()
        self.assertEqual((self.client.replies, self.client.seen), (2, {number: b"answer"}))

    def test_the_end(self) -> None:
        """The closing handshake ends the session and its connections."""
        self.client.send(self.client.spdy.open_stream(self.headers(b"error"))[1])
        self.client.send(self.client.spdy.open_stream(self.headers(b"data"))[1])
        self.settle()
        self.client.close()
        self.pass_time(10)
        self.assertTrue(self.runtime.connections[0].lost)
        self.assertEqual(self.factory.sessions, {})

    def test_a_broken_frame_inside(self) -> None:
        """A broken frame ends the session with SPDY's GOAWAY, then the WebSocket closes."""
        self.client.send(b"\x80\x02\0\0\0\0\0\0")
        self.settle()
        self.assertEqual((self.client.messages[-1][:4], self.client.closed), (b"\x80\x03\0\x07", 1000))


class ChannelForwardTests(SessionTestCase):
    """A pair of channels for each port."""

    def test_two_ports(self) -> None:
        """Channels 2N carry port N, whose number comes first on each; ports may be in the URL."""
        self.runtime.ports |= {80: FarEnd, 8443: FarEnd}
        client = self.websocket(PortForward("sandbox"), "v4.channel.k8s.io", query="?port=80&port=8443")
        ports = [(80).to_bytes(2, "little"), (8443).to_bytes(2, "little")]
        self.assertEqual([client.channel(number) for number in range(4)], [ports[0], ports[0], ports[1], ports[1]])
        client.send(b"\x02question")
        self.settle()
        self.runtime.connections[1].connection.write(b"answer")
        self.settle()
        self.assertEqual(self.runtime.connections[1].received, b"question")
        self.assertEqual(client.channel(2)[2:], b"answer")

    def test_ports_of_the_request(self) -> None:
        """Without ports in the URL those of the CRI request are forwarded."""
        self.runtime.ports[80] = FarEnd
        client = self.websocket(PortForward("sandbox", (80,)), "portforward.k8s.io")
        client.send(b"\x00x")
        self.settle()
        self.assertEqual(self.runtime.connections[0].received, b"x")

    def test_base64(self) -> None:
        """The base64 protocol carries the same in text messages."""
        self.runtime.ports[80] = FarEnd
        client = self.websocket(PortForward("sandbox", (80,)), "base64.portforward.k8s.io")
        client.send("0eA==")
        self.settle()
        self.assertEqual((client.messages, self.runtime.connections[0].received), (["0UAA=", "1UAA="], b"x"))

    def test_the_end_of_all_connections_is_the_end(self) -> None:
        """A port without a listener is an error on its channel; the WebSocket closes when all have ended."""
        self.runtime.ports[80] = FarEnd
        client = self.websocket(PortForward("sandbox", (81, 80)), "v4.channel.k8s.io")
        self.assertIn(b"error forwarding port 81", client.channel(1))
        self.assertEqual(client.closed, None)
        pod: Any = self.runtime.connections[0]
        pod.connection.write(b"last words")
        pod.connection.loseConnection()
        self.settle()
        self.assertEqual((client.channel(2)[2:], client.closed), (b"last words", 1000))

    def test_ports_that_make_no_sense(self) -> None:
        """No port, a wrong one, too many: 400."""
        many = "?" + "&".join(f"port={number}" for number in range(1, 34))
        for query in ("", "?port=0", "?port=x", "?port=65536", "?port=065535999", "?port=-1", many):
            client = self.websocket(PortForward("sandbox"), "v4.channel.k8s.io", query=query)
            self.assertEqual(client.refused, 400, query)
        self.assertEqual(self.factory.sessions, {})
