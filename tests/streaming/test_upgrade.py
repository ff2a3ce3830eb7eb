"""The first request of a connection: upgraded or refused."""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from criwist.streaming.targets import Attach, Exec, PortForward, Request
from criwist.streaming.tokens import TOKEN_LIFE
from criwist.streaming.upgrade import HEAD_WAIT
from criwist.wire.upgrade_offer import MAX_HEAD
from tests.doubles.streaming_peers import SpdyClient, WebSocketClient
from tests.streaming.session_doubles import SessionTestCase, command


class RawClient(Protocol):
    """Sends fixed bytes and keeps the response."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.response = b""
        self.lost = False

    def connectionMade(self) -> None:
        for chunk in self._chunks:
            self.transport.write(chunk)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.response += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class UpgradeTests(SessionTestCase):
    """The response to a request is an upgrade or a refusal."""

    def send(self, *chunks: bytes) -> RawClient:
        """Connect a client that sends these chunks; it has the response."""
        client: RawClient = self.connect(RawClient(*chunks))  # type: ignore[type-var]
        return client

    def http_status(self, *chunks: bytes) -> int:
        """Return the status of the response to these chunks."""
        return int(self.send(*chunks).response.split()[1])

    def upgrade(self, target: str, *headers: str) -> bytes:
        """Return a request for SPDY."""
        lines = [f"POST {target} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: SPDY/3.1", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def test_invalid_tokens(self) -> None:
        """A token that is wrong, used, expired or for another path gets 404, without a reason."""
        request = Exec(command())
        used = self.target(request)
        self.connect(SpdyClient(used))
        expired = self.target(request)
        self.reactor.advance(TOKEN_LIFE)
        elsewhere = self.target(request).replace("exec", "attach")
        for target in ("/exec/wrong", "/", "/exec", "/exec/", used, expired, elsewhere, "/cri" + self.target(request)):
            response = self.send(self.upgrade(target)).response
            self.assertEqual(
                response, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", target
            )

    def test_a_refused_client_is_disconnected(self) -> None:
        """The connection closes after a refusal."""
        self.assertTrue(self.send(self.upgrade("/exec/wrong")).lost)
        self.assertEqual(self.silent, [])

    def test_any_use_uses_a_token_up(self) -> None:
        """A request that is refused for another reason has used its token."""
        target = self.target(Exec(command()))
        self.assertEqual(self.http_status(f"GET {target} HTTP/1.1\r\nHost: node\r\n\r\n".encode()), 400)
        self.assertEqual(self.http_status(self.upgrade(target)), 404)

    def test_no_version_in_common(self) -> None:
        """Without a common version the response is 403, with the server's versions."""
        client = self.send(self.upgrade(self.target(Exec(command())), "X-Stream-Protocol-Version: v9.channel.k8s.io"))
        self.assertTrue(client.response.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        self.assertIn(b"v4.channel.k8s.io", client.response)

    def test_no_subprotocol_in_common(self) -> None:
        """Without a common sub-protocol a WebSocket client gets 403."""
        client = self.websocket(PortForward("sandbox", (80,)), "v5.channel.k8s.io")
        self.assertEqual(client.refused, 403)

    def test_versions_in_one_header(self) -> None:
        """A client may list its versions in one header."""
        target = self.target(PortForward("sandbox"))
        client = self.send(self.upgrade(target, "x-stream-protocol-version: v9.x, portforward.k8s.io"))
        self.assertIn(b"X-Stream-Protocol-Version: portforward.k8s.io\r\n", client.response)

    def test_a_head_in_pieces_with_frames_behind_it(self) -> None:
        """A head may arrive byte by byte; bytes after it in the same read belong to the new protocol."""
        request = self.upgrade(self.target(PortForward("sandbox")), "X-Stream-Protocol-Version: portforward.k8s.io")
        ping = bytes.fromhex("800300060000000400000001")
        pieces = [request[index : index + 1] for index in range(len(request) - 1)]
        client = self.send(*pieces, request[-1:] + ping)
        self.assertTrue(client.response.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(client.response.endswith(ping))

    def test_a_silent_client(self) -> None:
        """A client that does not send a whole head within HEAD_WAIT seconds is dropped."""
        silent = self.send()
        slow = self.send(b"POST /exec")
        self.reactor.advance(HEAD_WAIT - 1)
        self.settle()
        self.assertEqual((silent.lost, slow.lost), (False, False))
        self.reactor.advance(2)
        self.settle()
        self.assertEqual((silent.lost, slow.lost, self.silent), (True, True, []))

    def test_a_long_head(self) -> None:
        """A head over MAX_HEAD gets 431, and the rest of it is not read."""
        client = self.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * MAX_HEAD, b"x" * 10_000)
        self.assertTrue(client.response.startswith(b"HTTP/1.1 431 "))

    def test_no_http(self) -> None:
        """Bytes that are not HTTP/1.1 get 400."""
        for chunks in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
            b"GET /\r\n\r\n",
            b"\0" * 100 + b"\r\n\r\n",
        ):
            self.assertEqual(self.http_status(chunks), 400)

    def test_a_request_with_a_body(self) -> None:
        """An upgrade request with a body gets 400."""
        target = self.target(Exec(command()))
        for header in ("Content-Length: 5", "Transfer-Encoding: chunked"):
            self.assertEqual(self.http_status(self.upgrade(target, header)), 400)

    def test_a_broken_handshake(self) -> None:
        """A WebSocket handshake without a key gets 400."""
        target = self.target(Exec(command()))
        lines = [f"GET {target} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: websocket", "", ""]
        self.assertEqual(self.http_status("\r\n".join(lines).encode()), 400)

    def test_every_kind_of_request(self) -> None:
        """Exec, attach and port-forward each have a path."""
        requests: list[Request] = [Exec(command()), Attach(command()), PortForward("sandbox")]
        for request in requests:
            client = self.connect(SpdyClient(self.target(request), ("v4.channel.k8s.io", "portforward.k8s.io")))
            self.assertTrue(client.response.startswith(b"HTTP/1.1 101 "))

    def test_a_websocket_needs_get(self) -> None:
        """A WebSocket handshake by POST gets 400 (RFC 6455, 4.1)."""
        client = WebSocketClient(self.target(Exec(command())))
        hello = client.connection.send(client._request).replace(b"GET ", b"POST ", 1)
        self.assertEqual(self.http_status(hello), 400)
