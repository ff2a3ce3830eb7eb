"""Exec over SPDY with versions of the protocol before 4."""

from __future__ import annotations

from criwist.streaming.targets import Exec
from tests.doubles.streaming_peers import SpdyClient
from tests.streaming.session_doubles import SessionTestCase, command


class OlderVersionTests(SessionTestCase):
    """Versions 1 to 3 end with text, or with nothing on success."""

    def test_nothing_is_success(self) -> None:
        """On success the error stream ends empty; the response names the version that the client offered."""
        for version in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"):
            client, numbers, process = self.exec_over_spdy(version)
            self.assertTrue(client.response.endswith(f"X-Stream-Protocol-Version: {version}".encode()))
            process.end(0)
            self.settle()
            error = client.streams[numbers["error"]]
            self.assertEqual((error.received, error.finished), (b"", True))

    def test_text_is_failure(self) -> None:
        """On failure the error stream has a text."""
        client, numbers, process = self.exec_over_spdy("v2.channel.k8s.io")
        process.end(3)
        self.settle()
        self.assertEqual(
            client.streams[numbers["error"]].received, b"command terminated with non-zero exit code: exit status 3"
        )

    def test_clients_that_offer_no_version(self) -> None:
        """The oldest clients offer no version; they use version 1."""
        client = self.connect(SpdyClient(self.target(Exec(command())), ()))
        self.assertTrue(client.response.startswith(b"HTTP/1.1 101 "))
        self.assertNotIn(b"x-stream-protocol-version", client.response.lower())
