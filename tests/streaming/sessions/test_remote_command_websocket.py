"""Exec and attach over WebSocket channels."""

from __future__ import annotations

import json

from criwist.interfaces.streaming import RemoteCommand
from criwist.streaming.targets import Attach, Exec
from criwist.wire.stdcopy import Stream
from tests.doubles.streaming_peers import WebSocketClient
from tests.streaming.session_doubles import SUCCESS, SessionTestCase, command


class WebSocketExecTests(SessionTestCase):
    """Messages on channels."""

    def test_v5(self) -> None:
        """Output, input, its end, and the status are messages on their channels; then the connection closes."""
        client = self.websocket(Exec(command(stdin=True)))
        process = self.runtime.processes[0]
        self.assertEqual((client.chosen, client.messages), ("v5.channel.k8s.io", []))
        client.send(b"\x00abc")
        client.send(b"\xff\x00")
        process.say(b"out")
        process.say(b"err", Stream.STDERR)
        self.settle()
        self.assertEqual((process.far.received, process.far.finished), (b"abc", True))
        process.end(0)
        self.settle()
        self.assertEqual((client.channel(1), client.channel(2)), (b"out", b"err"))
        self.assertEqual(json.loads(client.channel(3)), SUCCESS)
        self.assertEqual((client.closed, self.factory.sessions), (1000, {}))

    def test_v4_announces_its_channels(self) -> None:
        """Older protocols begin with an empty message on each of the server's channels."""
        client = self.websocket(Exec(command()), "channel.k8s.io", "v4.channel.k8s.io")
        self.assertEqual((client.chosen, sorted(client.messages)), ("v4.channel.k8s.io", [b"\x01", b"\x02", b"\x03"]))
        self.runtime.processes[0].end(3)
        self.settle()
        self.assertIn(b"NonZeroExitCode", client.channel(3))

    def test_the_oldest_has_text(self) -> None:
        """Without a sub-protocol, or with the first, the session ends with text."""
        for offered in ((), ("channel.k8s.io",)):
            client = self.websocket(Exec(command()), *offered) if offered else self._without_subprotocol()
            self.runtime.processes[-1].end(3)
            self.settle()
            self.assertEqual(client.chosen, offered[0] if offered else "")
            self.assertEqual(client.channel(3), b"command terminated with non-zero exit code: exit status 3")

    def _without_subprotocol(self) -> WebSocketClient:
        return self.connect(WebSocketClient(self.target(Exec(command())), ()))

    def test_base64(self) -> None:
        """In both directions a message is text: a digit and base64."""
        client = self.websocket(Exec(command(stdin=True, stderr=False)), "v4.base64.channel.k8s.io")
        process = self.runtime.processes[0]
        client.send("0YWJj")
        process.say(b"out")
        self.settle()
        self.assertEqual((process.far.received, client.messages[-1]), (b"abc", "1b3V0"))

    def test_resize(self) -> None:
        """Sizes arrive on channel 4, the first of them before the process starts."""
        client = self.websocket(Exec(command(tty=True)))
        client.send(b'\x04{"Width":80,"Height":24}')
        self.settle()
        self.assertEqual(self.runtime.processes[0].sizes, [(24, 80)])

    def test_a_long_message_in_fragments(self) -> None:
        """A fragment's payload arrives before the end of its message."""
        client = self.websocket(Exec(command(stdin=True)))
        client.send(b"\x00abc", last=False)
        self.settle()
        self.assertEqual(self.runtime.processes[0].far.received, b"abc")
        client.send(b"def", last=True)
        self.settle()
        self.assertEqual(self.runtime.processes[0].far.received, b"abcdef")

    def test_unknown_channels(self) -> None:
        """Messages for unknown channels are dropped."""
        client = self.websocket(Exec(command()))
        for message in (b"\x00no stdin was asked for", b"\x09nothing", b"\xff\x09"):
            client.send(message)
        self.settle()
        self.assertEqual((client.closed, self.runtime.processes[0].far.received), (None, b""))

    def test_invalid_base64(self) -> None:
        """Invalid base64 closes the connection with 1007, and hang_up() is called for the process."""
        client = self.websocket(Exec(command(stdin=True)), "v4.base64.channel.k8s.io")
        client.send("0!!!!")
        self.settle()
        self.assertEqual(client.closed, 1007)
        self.pass_time(10)
        self.assertTrue(self.runtime.processes[0].hung_up)

    def test_a_client_that_closes(self) -> None:
        """A client's close gets a close, and hang_up() is called for the process."""
        client = self.websocket(Exec(command()))
        client.close()
        self.settle()
        self.assertEqual(client.closed, 1000)
        self.pass_time(10)
        self.assertTrue(self.runtime.processes[0].hung_up)
        self.assertEqual(self.factory.sessions, {})

    def test_invalid_frames(self) -> None:
        """Invalid frames close the connection with 1002."""
        client = self.websocket(Exec(command()))
        client.write(b"\xff\xff\xff\xff\xff\xff")
        self.settle()
        self.assertEqual(client.closed, 1002)

    def test_pings(self) -> None:
        """The server replies to pings, and sends its own."""
        client = self.websocket(Exec(command()))
        client.send_ping()
        self.pass_time(95, step=5)
        self.assertEqual((client.pings, client.closed), (3, None))

    def test_attach(self) -> None:
        """Attach uses the same channels."""
        client = self.websocket(Attach(RemoteCommand("container", stdout=True)))
        self.runtime.processes[0].say(b"words")
        self.runtime.processes[0].end(None)
        self.settle()
        self.assertEqual((client.channel(1), json.loads(client.channel(3))), (b"words", SUCCESS))
