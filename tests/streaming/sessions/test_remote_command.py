"""Exec and attach over SPDY: the streams, output and input."""

from __future__ import annotations

import itertools
import json

from twisted.internet.defer import Deferred

from criwist.streaming.targets import Exec
from criwist.wire.stdcopy import Stream
from tests.streaming.session_doubles import SUCCESS, SessionTestCase, command


class StreamTests(SessionTestCase):
    """The streams of an exec."""

    def test_the_upgrade(self) -> None:
        """The response names the protocol and the version that the server chose."""
        client = self.spdy(Exec(command()), "v3.channel.k8s.io", "v4.channel.k8s.io")
        self.assertEqual(
            client.response.split(b"\r\n"),
            [
                b"HTTP/1.1 101 Switching Protocols",
                b"Connection: Upgrade",
                b"Upgrade: SPDY/3.1",
                b"X-Stream-Protocol-Version: v4.channel.k8s.io",
            ],
        )
        client.transport.loseConnection()
        self.settle()

    def test_from_output_to_status(self) -> None:
        """Both outputs arrive on their streams; then all streams end, the error stream with the exit code."""
        client, numbers, process = self.exec_over_spdy()
        self.assertTrue(all(stream.replied for stream in client.streams.values()))
        process.say(b"out")
        process.say(b"err", Stream.STDERR)
        process.end(3)
        self.settle()
        streams = self.streams(client, numbers)
        self.assertEqual((streams["stdout"].received, streams["stderr"].received), (b"out", b"err"))
        self.assertTrue(all(stream.finished for stream in streams.values()))
        self.assertEqual(self.status(client, numbers["error"])["reason"], "NonZeroExitCode")
        self.assertEqual(client.goaway, 0)
        client.transport.loseConnection()
        self.settle()
        self.assertTrue(client.lost)
        self.assertEqual(self.factory.sessions, {})

    def test_only_the_requested_streams(self) -> None:
        """Without stderr in the request its output is dropped, and a stream for it is refused."""
        client, numbers, process = self.exec_over_spdy(stderr=False)
        unwanted = client.open(streamtype="stderr")
        process.say(b"err", Stream.STDERR)
        process.say(b"out")
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"out")
        self.assertEqual(client.streams[unwanted].reset, 3)

    def test_a_stream_of_each_role_once(self) -> None:
        """A second stdout is refused, the first stays."""
        client, numbers, process = self.exec_over_spdy()
        second = client.open(streamtype="stdout")
        process.say(b"out")
        self.settle()
        self.assertEqual((client.streams[second].reset, client.streams[numbers["stdout"]].received), (3, b"out"))

    def test_output_in_one_frame_a_read(self) -> None:
        """Chunks of one stream that arrive together leave in one frame."""
        client, numbers, process = self.exec_over_spdy()
        process.far.connection.write(
            b"".join(b"\x01\0\0\0\0\0\0\x03abc" for _ in range(100)) + b"\x02\0\0\0\0\0\0\x01e"
        )
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"abc" * 100)
        self.assertEqual(client.frames, 2)

    def test_any_order_of_streams(self) -> None:
        """The client gets the exit code in whatever order it opens its streams, although its input has ended."""
        for roles in itertools.permutations(("error", "stdin", "stdout", "stderr")):
            client = self.spdy(Exec(command(stdin=True)))
            numbers = {role: client.open(streamtype=role) for role in roles}
            client.send(numbers["stdin"], b"x", fin=True)
            self.settle()
            self.runtime.processes[-1].end(3)
            self.settle()
            self.assertEqual(self.status(client, numbers["error"])["reason"], "NonZeroExitCode", roles)


class InputTests(SessionTestCase):
    """Standard input of an exec, and its end."""

    def test_input_and_its_end(self) -> None:
        """Input and its end arrive; output goes on after it."""
        client, numbers, process = self.exec_over_spdy(stdin=True)
        client.send(numbers["stdin"], b"abc")
        client.send(numbers["stdin"], b"def", fin=True)
        self.settle()
        self.assertEqual((process.far.received, process.far.finished), (b"abcdef", True))
        process.say(b"late")
        process.end(0)
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"late")
        self.assertEqual(self.status(client, numbers["error"]), SUCCESS)

    def test_input_after_the_engine_has_closed(self) -> None:
        """The client gets the exit code although the engine has closed its connection while input still comes."""
        client, numbers, process = self.exec_over_spdy(stdin=True)
        process.far.connection.abortConnection()
        client.send(numbers["stdin"], b"x" * 1000)
        self.settle()
        client.send(numbers["stdin"], b"", fin=True)
        self.settle()
        process.exit(3)
        self.settle()
        self.assertEqual(self.status(client, numbers["error"])["reason"], "NonZeroExitCode")

    def test_a_terminal_has_no_end_of_input(self) -> None:
        """A terminal does not get the end of input, which the engine would take for the session's end."""
        client, numbers, process = self.exec_over_spdy(stdin=True, tty=True)
        client.send(numbers["stdin"], b"x", fin=True)
        self.settle()
        self.assertEqual((process.far.received, process.far.finished), (b"x", False))
        process.say(b"raw \x01 bytes")
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"raw \x01 bytes")

    def test_input_before_the_start(self) -> None:
        """Input that arrives before the engine has started the command waits, with its end."""
        self.runtime.starting = Deferred()
        client = self.spdy(Exec(command(stdin=True)))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdin", "stdout", "stderr")}
        client.send(numbers["stdin"], b"early", fin=True)
        self.settle()
        self.runtime.starting.callback(None)
        self.settle()
        process = self.runtime.processes[0]
        self.assertEqual((process.far.received, process.far.finished), (b"early", True))


class AttachTests(SessionTestCase):
    """Attaching to a container over SPDY."""

    def test_the_end_of_the_container(self) -> None:
        """The session ends with Success, because the container's status has its exit code."""
        client, numbers, process = self.attach_over_spdy()
        process.say(b"words")
        process.end(None)
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"words")
        self.assertEqual(json.loads(bytes(client.streams[numbers["error"]].received)), SUCCESS)

    def test_detaching(self) -> None:
        """A client that disconnects is detached from the container."""
        client, _, process = self.attach_over_spdy()
        client.transport.abortConnection()
        self.settle()
        self.assertTrue(process.hung_up)
