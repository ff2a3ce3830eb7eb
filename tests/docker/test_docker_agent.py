"""Engine addresses are parsed, and TLS files are checked when the connections are made."""

from __future__ import annotations

import tempfile
from pathlib import Path

from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import AccumulatingProtocol, MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import PotentialDataLoss

from criwist.config import TLSFiles
from criwist.docker.agent import connections
from criwist.errors import InvalidArgument
from tests.harness.certificates import Authority


class AddressTests(SynchronousTestCase):
    """Addresses with unix:// and tcp://."""

    def setUp(self) -> None:
        """A reactor that records the connections made through it."""
        self.reactor = MemoryReactorClock()

    def test_a_unix_socket(self) -> None:
        """The client connects to a UNIX socket by its path."""
        ways = connections(self.reactor, "unix:///run/docker.sock")
        self.assertEqual((ways.origin, ways.host), ("http://docker", "docker"))
        ways.single.request(b"GET", b"http://docker/_ping").addErrback(lambda failure: None)
        self.assertEqual(self.reactor.unixClients[0][0], "/run/docker.sock")

    def test_tcp(self) -> None:
        """A tcp:// address may have a host name, an IPv4 or an IPv6 address."""
        self.assertEqual(connections(self.reactor, "tcp://10.0.0.1:2375").origin, "http://10.0.0.1:2375")
        self.assertEqual(connections(self.reactor, "tcp://[::1]:2375/").origin, "http://[::1]:2375")
        connections(self.reactor, "tcp://127.0.0.1:2375").single.request(b"GET", b"http://x/_ping").addErrback(
            lambda failure: None
        )
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 2375))

    def test_other_addresses_are_refused(self) -> None:
        """Another address is refused; the error names it and the expected forms."""
        for address in ("", "unix://relative", "/run/docker.sock", "tcp://host", "tcp://:1", "tcp://h:x", "http://h:1"):
            error = self.assertRaises(InvalidArgument, connections, self.reactor, address)
            self.assertIn(repr(address), str(error))

    def test_tls(self) -> None:
        """TLS works with a client certificate and its chain, without one, and with the system's authorities."""
        with tempfile.TemporaryDirectory() as scratch:
            authority = Authority(Path(scratch))
            files = authority.issue("engine.test")
            chain = Path(scratch, "chain.pem")
            chain.write_bytes(Path(files.certificate).read_bytes() + authority.path.read_bytes())
            for tls in (
                files,
                evolve(files, certificate=str(chain)),
                TLSFiles(ca=files.ca),
                evolve(files, ca=""),
            ):
                self.assertEqual(connections(self.reactor, "tcp://h:2376", tls).origin, "https://h:2376")

    def test_unusable_tls_files_are_refused(self) -> None:
        """TLS files that are missing or hold something else are refused."""
        with tempfile.TemporaryDirectory() as scratch:
            files = Authority(Path(scratch)).issue("engine.test")
            empty = Path(scratch, "empty")
            empty.touch()
            for tls in (
                evolve(files, ca="/no/such/file"),
                evolve(files, ca=files.key),
                evolve(files, certificate=str(empty)),
                evolve(files, key=str(empty)),
            ):
                self.assertRaises(InvalidArgument, connections, self.reactor, "tcp://h:2376", tls)


class UntilCloseTests(SynchronousTestCase):
    """Responses that only the end of their connection ends."""

    def test_asks_in_the_older_version(self) -> None:
        """A request in HTTP/1.0 gets the bytes without chunks, and an end that may have cut something off."""
        reactor = MemoryReactorClock()
        ways = connections(reactor, "unix:///run/docker.sock")
        waiting = ways.until_close.request(b"GET", b"http://docker/logs")
        protocol = reactor.unixClients[0][1].buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.assertEqual(transport.value().split(b"\r\n")[0], b"GET /logs HTTP/1.0")
        protocol.dataReceived(b"HTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\n5\r\n")
        body = AccumulatingProtocol()
        self.successResultOf(waiting).deliverBody(body)
        protocol.dataReceived(b"hello")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(body.data, b"5\r\nhello")
        self.assertTrue(body.closedReason.check(PotentialDataLoss))  # type: ignore[union-attr]
