"""The first words of a connection."""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from criwist.streaming.targets import Attach, Exec, PortForward, Request
from criwist.streaming.tokens import TOKEN_LIFE
from criwist.streaming.upgrade import HEAD_WAIT
from criwist.wire.upgrade_offer import MAX_HEAD
from tests.doubles.streaming_peers import SpdyClient, WebSocketClient
from tests.streaming.session_doubles import SessionTestCase, command


class Talker(Protocol):
    """Says what it is told to and keeps what comes."""

    def __init__(self, *words: bytes) -> None:
        self._words = words
        self.answer = b""
        self.lost = False

    def connectionMade(self) -> None:
        for word in self._words:
            self.transport.write(word)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.answer += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class FrontTests(SessionTestCase):
    """A request is answered by an upgrade or by its refusal."""

    def talk(self, *words: bytes) -> Talker:
        """The answer to these words."""
        talker: Talker = self.connect(Talker(*words))  # type: ignore[type-var]
        return talker

    def status(self, *words: bytes) -> int:
        """Its status."""
        return int(self.talk(*words).answer.split()[1])

    def upgrade(self, target: str, *headers: str) -> bytes:
        """A request for SPDY."""
        lines = [f"POST {target} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: SPDY/3.1", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def test_tokens_that_are_not_good(self) -> None:
        """Wrong, used, expired, or for something else: 404, and not a word more."""
        request = Exec(command())
        used = self.target(request)
        self.connect(SpdyClient(used))
        expired = self.target(request)
        self.reactor.advance(TOKEN_LIFE)
        elsewhere = self.target(request).replace("exec", "attach")
        for target in ("/exec/wrong", "/", "/exec", "/exec/", used, expired, elsewhere, "/cri" + self.target(request)):
            answer = self.talk(self.upgrade(target)).answer
            self.assertEqual(
                answer, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", target
            )

    def test_a_refused_client_is_let_go(self) -> None:
        """After the refusal the connection closes."""
        self.assertTrue(self.talk(self.upgrade("/exec/wrong")).lost)
        self.assertEqual(self.silent, [])

    def test_any_use_uses_a_token_up(self) -> None:
        """A request that is refused for another reason has used its token."""
        target = self.target(Exec(command()))
        self.assertEqual(self.status(f"GET {target} HTTP/1.1\r\nHost: node\r\n\r\n".encode()), 400)
        self.assertEqual(self.status(self.upgrade(target)), 404)

    def test_no_version_in_common(self) -> None:
        """403, with what is known."""
        talker = self.talk(self.upgrade(self.target(Exec(command())), "X-Stream-Protocol-Version: v9.channel.k8s.io"))
        self.assertTrue(talker.answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        self.assertIn(b"v4.channel.k8s.io", talker.answer)

    def test_no_subprotocol_in_common(self) -> None:
        """403 for WebSockets too."""
        client = self.websocket(PortForward("sandbox", (80,)), "v5.channel.k8s.io")
        self.assertEqual(client.refused, 403)

    def test_versions_in_one_header(self) -> None:
        """A list in one header is as good as a header each."""
        target = self.target(PortForward("sandbox"))
        talker = self.talk(self.upgrade(target, "x-stream-protocol-version: v9.x, portforward.k8s.io"))
        self.assertIn(b"X-Stream-Protocol-Version: portforward.k8s.io\r\n", talker.answer)

    def test_a_head_in_pieces_with_frames_behind_it(self) -> None:
        """A head may come byte by byte, and what follows it in the same read belongs to the new protocol."""
        request = self.upgrade(self.target(PortForward("sandbox")), "X-Stream-Protocol-Version: portforward.k8s.io")
        ping = bytes.fromhex("800300060000000400000001")
        pieces = [request[index : index + 1] for index in range(len(request) - 1)]
        talker = self.talk(*pieces, request[-1:] + ping)
        self.assertTrue(talker.answer.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(talker.answer.endswith(ping))

    def test_a_client_that_never_speaks(self) -> None:
        """It has ten seconds."""
        silent = self.talk()
        slow = self.talk(b"POST /exec")
        self.reactor.advance(HEAD_WAIT - 1)
        self.settle()
        self.assertEqual((silent.lost, slow.lost), (False, False))
        self.reactor.advance(2)
        self.settle()
        self.assertEqual((silent.lost, slow.lost, self.silent), (True, True, []))

    def test_a_head_that_is_too_long(self) -> None:
        """It is refused, and no more of it is read."""
        talker = self.talk(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * MAX_HEAD, b"x" * 10_000)
        self.assertTrue(talker.answer.startswith(b"HTTP/1.1 431 "))

    def test_what_is_no_http(self) -> None:
        """400."""
        for words in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
            b"GET /\r\n\r\n",
            b"\0" * 100 + b"\r\n\r\n",
        ):
            self.assertEqual(self.status(words), 400)

    def test_a_request_with_a_body(self) -> None:
        """An upgrade request has none."""
        target = self.target(Exec(command()))
        for header in ("Content-Length: 5", "Transfer-Encoding: chunked"):
            self.assertEqual(self.status(self.upgrade(target, header)), 400)

    def test_a_broken_handshake(self) -> None:
        """A WebSocket client without a key is refused."""
        target = self.target(Exec(command()))
        lines = [f"GET {target} HTTP/1.1", "Host: node", "Connection: Upgrade", "Upgrade: websocket", "", ""]
        self.assertEqual(self.status("\r\n".join(lines).encode()), 400)

    def test_every_kind_of_request(self) -> None:
        """Each has its path."""
        requests: list[Request] = [Exec(command()), Attach(command()), PortForward("sandbox")]
        for request in requests:
            client = self.connect(SpdyClient(self.target(request), ("v4.channel.k8s.io", "portforward.k8s.io")))
            self.assertTrue(client.answer.startswith(b"HTTP/1.1 101 "))

    def test_a_websocket_needs_get(self) -> None:
        """RFC 6455, 4.1."""
        client = WebSocketClient(self.target(Exec(command())))
        hello = client.connection.send(client._request).replace(b"GET ", b"POST ", 1)
        self.assertEqual(self.status(hello), 400)
