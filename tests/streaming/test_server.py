"""The streaming server: addresses, URLs, listening, limits, shutdown."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.errors import InvalidArgument, ResourceExhausted, Unavailable
from criwist.interfaces.streaming import RemoteCommand
from criwist.rpc.streaming import StreamingUrls
from criwist.streaming.server import MAX_SILENT, SHUTDOWN_GRACE, BindAddress, StreamingServer
from criwist.streaming.targets import Attach, Exec, PortForward
from criwist.streaming.tokens import MAX_TOKENS
from tests.doubles.memory_network import MemoryNetwork
from tests.doubles.memory_runtime import MemoryRuntime
from tests.doubles.streaming_peers import SpdyClient

COMMAND = RemoteCommand("container", ("run",), stdout=True)


class AddressTests(SynchronousTestCase):
    """The address to listen on, as operators write it."""

    def test_forms(self) -> None:
        """Hosts and ports of both families are parsed; without a port the system chooses one."""
        for text, host, port, local in (
            ("127.0.0.1", "127.0.0.1", 0, "127.0.0.1"),
            ("127.0.0.1:10010", "127.0.0.1", 10010, "127.0.0.1"),
            ("localhost:1", "127.0.0.1", 1, "127.0.0.1"),
            ("::1", "::1", 0, "[::1]"),
            ("[::1]:10010", "::1", 10010, "[::1]"),
            ("10.1.2.3:5", "10.1.2.3", 5, "10.1.2.3"),
            ("0.0.0.0:5", "0.0.0.0", 5, "127.0.0.1"),
            (":5", "0.0.0.0", 5, "127.0.0.1"),
            ("[::]:5", "::", 5, "[::1]"),
        ):
            address = BindAddress.parse(text)
            self.assertEqual((str(address.host), address.port, address.local), (host, port, local), text)

    def test_invalid_addresses(self) -> None:
        """Host names, bad ports and nonsense are refused."""
        for text in ("example.com:80", "127.0.0.1:x", "127.0.0.1:70000", "[::1", "1.2.3.4.5", "127.0.0.1:-1"):
            with self.assertRaises(InvalidArgument, msg=text):
                BindAddress.parse(text)


class ServerTestCase(SynchronousTestCase):
    """A server on a reactor that records calls."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.network = MemoryNetwork(self.reactor)
        self.runtime = MemoryRuntime(self.network)

    def server(self, **config: Any) -> StreamingServer:
        """Return a server that is not started."""
        return StreamingServer(self.reactor, Config(**config), self.runtime)

    def started(self, **config: Any) -> StreamingServer:
        """Return a server that is started."""
        server = self.server(**config)
        server.startService()
        return server

    def connect(self, client: Any) -> Any:
        """Connect a client to the server's listener."""
        factory = self.reactor.tcpServers[-1][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.network.connect(client, protocol)  # type: ignore[arg-type]
        self.network.settle()
        return client


class ServerTests(ServerTestCase):
    """The service listens, makes URLs, limits connections and stops."""

    def test_loopback_by_default(self) -> None:
        """The server listens on 127.0.0.1, on a port that the system chooses."""
        self.started()
        port, _, _, interface = self.reactor.tcpServers[0]
        self.assertEqual((port, interface), (0, "127.0.0.1"))

    def test_elsewhere_only_when_allowed(self) -> None:
        """Without TLS, an address that other hosts can reach needs a flag, and causes a warning."""
        with self.assertRaises(InvalidArgument):
            self.server(streaming_bind_addr="0.0.0.0:5")
        with capturedLogs() as logged:
            self.started(streaming_bind_addr="0.0.0.0:5", streaming_insecure=True)
        self.assertEqual(self.reactor.tcpServers[0][0], 5)
        self.assertEqual([event["address"] for event in logged if event["log_level"] is LogLevel.warn], ["0.0.0.0:5"])

    def test_urls(self) -> None:
        """URLs are absolute, have the listener's port, and lead to one request each."""
        server = self.started(streaming_bind_addr="127.0.0.1:7777")
        urls = [server.url(request) for request in (Exec(COMMAND), Attach(COMMAND), PortForward("sandbox"))]
        for url, path in zip(urls, ("exec", "attach", "portforward"), strict=True):
            self.assertRegex(url, rf"^http://[0-9.]+:\d+/{path}/[A-Za-z0-9_-]{{43}}$")
        client = self.connect(SpdyClient(urls[0].partition("/exec")[1] + urls[0].partition("/exec")[2]))
        self.assertTrue(client.response.startswith(b"HTTP/1.1 101 "))

    def test_no_urls_before_it_listens_or_after(self) -> None:
        """A server that does not listen makes no URL."""
        server = self.server()
        with self.assertRaises(Unavailable):
            server.url(Exec(COMMAND))
        server.startService()
        server.url(Exec(COMMAND))
        self.successResultOf(server.stopService())
        with self.assertRaises(Unavailable):
            server.url(Exec(COMMAND))

    def test_too_many_tokens(self) -> None:
        """The thousand-and-first URL is refused."""
        server = self.started()
        for _ in range(MAX_TOKENS):
            server.url(Exec(COMMAND))
        with self.assertRaises(ResourceExhausted):
            server.url(Exec(COMMAND))

    def test_too_many_silent_connections(self) -> None:
        """One silent connection too many drops the oldest; a connection that has sent its request does not count."""
        server = self.started()
        clients = [SpdyClient("/exec/wrong") for _ in range(MAX_SILENT + 1)]
        for client in clients:
            client.connectionMade = lambda: None  # type: ignore[method-assign]
            self.network.connect(client, server.new_connection())
        self.network.settle()
        self.assertEqual([client.lost for client in clients], [True] + [False] * MAX_SILENT)
        self.connect(SpdyClient("/exec/wrong"))
        self.assertEqual([client.lost for client in clients[:3]], [True, True, False])
        clients[2].write(b"GET /exec/wrong HTTP/1.1\r\nHost: node\r\n\r\n")
        self.network.settle()
        server.new_connection()
        self.network.settle()
        self.assertEqual([client.lost for client in clients[3:]], [False] * (MAX_SILENT - 2))

    def test_shutdown(self) -> None:
        """stopService() fires when every session has ended by its protocol, and silent connections are dropped."""
        server = self.started()
        client = self.connect(SpdyClient("/exec/" + server.url(Exec(COMMAND)).rsplit("/")[-1]))
        for role in ("error", "stdout"):
            client.open(streamtype=role)
        self.network.settle()
        silent = self.connect(SpdyClient("/exec/x"))
        stopped = server.stopService()
        self.network.settle()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((client.goaway, silent.lost), (0, True))
        self.assertIn(b"stopping", client.streams[1].received)

    def test_shutdown_has_a_limit(self) -> None:
        """A client that does not close delays the shutdown by SHUTDOWN_GRACE seconds only."""
        server = self.started()
        client = self.connect(SpdyClient("/exec/" + server.url(Exec(COMMAND)).rsplit("/")[-1]))
        client.transport.peer.loseWriteConnection = lambda: None
        client.transport.peer.abortConnection = lambda: None
        stopped = server.stopService()
        self.assertNoResult(stopped)
        self.reactor.advance(SHUTDOWN_GRACE)
        self.successResultOf(stopped)


class StreamingUrlsTests(ServerTestCase):
    """The URLs of the CRI's three requests."""

    def setUp(self) -> None:
        super().setUp()
        self.urls = StreamingUrls(self.runtime, self.started())

    def url(self, coroutine: Any) -> str:
        """Return the coroutine's URL."""
        url: str = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return url

    def test_exec(self) -> None:
        """An ExecRequest becomes a command with the streams it requests."""
        request = pb.ExecRequest(container_id="c", cmd=["ls", "-l"], stdin=True, stdout=True, tty=True)
        url = self.url(self.urls.exec_url(request))
        client = self.connect(SpdyClient("/exec/" + url.rsplit("/")[-1]))
        for role in ("error", "stdin", "stdout"):
            client.open(streamtype=role)
        self.network.settle()
        expected = RemoteCommand("c", ("ls", "-l"), stdin=True, stdout=True, tty=True)
        self.assertEqual(self.runtime.processes[0].request, expected)

    def test_attach(self) -> None:
        """An AttachRequest becomes an attach with the streams it requests."""
        url = self.url(self.urls.attach_url(pb.AttachRequest(container_id="c", stdout=True, stderr=True)))
        client = self.connect(SpdyClient("/attach/" + url.rsplit("/")[-1]))
        for role in ("error", "stdout", "stderr"):
            client.open(streamtype=role)
        self.network.settle()
        self.assertEqual(self.runtime.processes[0].request, RemoteCommand("c", stdout=True, stderr=True))

    def test_port_forward(self) -> None:
        """A port outside 1 to 65535 is refused."""
        self.assertIn("/portforward/", self.url(self.urls.port_forward_url(pb.PortForwardRequest(port=[80]))))
        for port in (0, -1, 65536):
            with self.assertRaises(InvalidArgument):
                self.urls.port_forward_url(pb.PortForwardRequest(port=[port])).send(None)
