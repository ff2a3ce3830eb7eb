"""Exec and attach over SPDY and WebSocket, from the client's request to its Status."""

from __future__ import annotations

import itertools
import json

from twisted.internet.defer import Deferred

from criwist.errors import EngineFailure
from criwist.interfaces.streaming import RemoteCommand
from criwist.streaming.sessions.process_streams import DRAIN_SILENCE
from criwist.streaming.sessions.remote_command import STREAM_WAIT
from criwist.streaming.stream import READ_AHEAD
from criwist.streaming.targets import Attach, Exec
from criwist.wire.stdcopy import Stream
from tests.doubles.memory_network import HIGH_WATER
from tests.doubles.streaming_peers import SpdyClient, WebSocketClient
from tests.streaming.session_doubles import SessionTestCase, command

SUCCESS = {"metadata": {}, "status": "Success"}


class SpdyExecTests(SessionTestCase):
    """Over SPDY, version 4 of the protocol."""

    def status(self, client: SpdyClient, number: int) -> dict[str, object]:
        """The document on the error stream, which must be finished."""
        stream = client.streams[number]
        self.assertTrue(stream.finished)
        document: dict[str, object] = json.loads(bytes(stream.received))
        return document

    def test_the_upgrade(self) -> None:
        """The answer names the protocol and the version that was chosen."""
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

    def test_success(self) -> None:
        """Exit code 0 is Success."""
        client, numbers, process = self.exec_over_spdy()
        process.end(0)
        self.settle()
        self.assertEqual(self.status(client, numbers["error"]), SUCCESS)

    def test_only_the_streams_that_were_asked_for(self) -> None:
        """Without stderr in the request its output goes nowhere, and a stream for it is refused."""
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

    def test_input_and_its_end(self) -> None:
        """Input arrives, its end too; output goes on after it."""
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

    def test_whichever_stream_was_opened_first(self) -> None:
        """The exit code is told in whatever order a client opens its streams, although its input has ended."""
        for roles in itertools.permutations(("error", "stdin", "stdout", "stderr")):
            client = self.spdy(Exec(command(stdin=True)))
            numbers = {role: client.open(streamtype=role) for role in roles}
            client.send(numbers["stdin"], b"x", fin=True)
            self.settle()
            self.runtime.processes[-1].end(3)
            self.settle()
            self.assertEqual(self.status(client, numbers["error"])["reason"], "NonZeroExitCode", roles)

    def test_input_that_nobody_wants_any_more(self) -> None:
        """When the engine has closed its connection while input still comes, the exit code is told all the same."""
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
        """The end of input is not passed on to a terminal, where the engine would take it for the session's."""
        client, numbers, process = self.exec_over_spdy(stdin=True, tty=True)
        client.send(numbers["stdin"], b"x", fin=True)
        self.settle()
        self.assertEqual((process.far.received, process.far.finished), (b"x", False))
        process.say(b"raw \x01 bytes")
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"raw \x01 bytes")

    def test_what_is_typed_before_the_start(self) -> None:
        """Input that comes while the engine still starts the command waits for it, with its end."""
        self.runtime.starting = Deferred()
        client = self.spdy(Exec(command(stdin=True)))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdin", "stdout", "stderr")}
        client.send(numbers["stdin"], b"early", fin=True)
        self.settle()
        self.runtime.starting.callback(None)
        self.settle()
        process = self.runtime.processes[0]
        self.assertEqual((process.far.received, process.far.finished), (b"early", True))

    def test_a_command_that_cannot_be_started(self) -> None:
        """The engine's words are the message of an InternalError."""
        self.runtime.refusal = EngineFailure("no such program")
        client = self.spdy(Exec(command()))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "stderr")}
        self.settle()
        status = self.status(client, numbers["error"])
        self.assertEqual((status["reason"], status["message"]), ("InternalError", "no such program"))

    def test_a_fault_of_ours(self) -> None:
        """Whatever goes wrong, the client is told an end."""
        self.runtime.refusal = ZeroDivisionError("oops")
        client = self.spdy(Exec(command()))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "stderr")}
        self.settle()
        self.assertEqual(self.status(client, numbers["error"])["reason"], "InternalError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_engine_s_own_words(self) -> None:
        """What the engine says on its error stream is the message of an InternalError, not output."""
        client, numbers, process = self.exec_over_spdy()
        process.say(b"the log is gone", Stream.SYSTEM_ERROR)
        process.end(0)
        self.settle()
        status = self.status(client, numbers["error"])
        self.assertEqual((status["reason"], status["message"]), ("InternalError", "the log is gone"))

    def test_output_that_is_not_framed(self) -> None:
        """Bytes that are no frames end the session with words."""
        client, numbers, process = self.exec_over_spdy()
        process.far.connection.write(b"surprise!")
        self.settle()
        process.exit(0)
        self.settle()
        self.assertIn("cannot be understood", str(self.status(client, numbers["error"])["message"]))

    def test_a_child_that_holds_the_output(self) -> None:
        """The end of the process ends the session once its output has been silent for a moment."""
        client, numbers, process = self.exec_over_spdy()
        process.exit(0)
        self.settle()
        self.assertFalse(client.streams[numbers["error"]].finished)
        self.reactor.advance(DRAIN_SILENCE - 0.1)
        process.say(b"child")
        self.settle()
        self.reactor.advance(0.2)
        self.settle()
        self.assertFalse(client.streams[numbers["error"]].finished)
        self.pass_time(2 * DRAIN_SILENCE)
        self.assertEqual(client.streams[numbers["stdout"]].received, b"child")
        self.assertEqual(self.status(client, numbers["error"]), SUCCESS)

    def test_a_process_that_closes_its_output(self) -> None:
        """The end of the output alone is not the end of the process."""
        client, numbers, process = self.exec_over_spdy()
        process.close_output()
        self.settle()
        self.assertFalse(client.streams[numbers["error"]].finished)
        process.exit(1)
        self.settle()
        self.assertEqual(self.status(client, numbers["error"])["reason"], "NonZeroExitCode")

    def test_a_client_that_goes_away(self) -> None:
        """The process is hung up on, and the session is gone."""
        client, _, process = self.exec_over_spdy(stdin=True)
        client.transport.loseConnection()
        self.settle()
        self.assertTrue(process.hung_up)
        self.assertTrue(process.far.lost)
        self.assertEqual(self.factory.sessions, {})

    def test_a_client_that_never_opens_its_streams(self) -> None:
        """It is sent away after thirty seconds."""
        client = self.spdy(Exec(command()))
        client.open(streamtype="error")
        self.settle()
        self.pass_time(STREAM_WAIT - 1)
        self.assertEqual(client.goaway, None)
        self.pass_time(2)
        self.assertEqual(client.goaway, 0)
        self.pass_time(10)
        self.assertTrue(client.lost)
        self.assertEqual((self.runtime.processes, self.factory.sessions), ([], {}))

    def test_shutdown(self) -> None:
        """A session that criwist ends has a status that says so."""
        client, numbers, process = self.exec_over_spdy()
        done: list[int] = []
        self.factory.shut_down(lambda: done.append(1))
        self.settle()
        self.assertIn("stopping", str(self.status(client, numbers["error"])["message"]))
        self.assertTrue(process.hung_up)
        self.assertEqual(done, [1])


class OlderVersionTests(SessionTestCase):
    """Versions 1 to 3 over SPDY end with text, or nothing."""

    def test_nothing_is_success(self) -> None:
        """The error stream ends empty; the version is told back, unless the client named none."""
        for version in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"):
            client, numbers, process = self.exec_over_spdy(version)
            self.assertTrue(client.response.endswith(f"X-Stream-Protocol-Version: {version}".encode()))
            process.end(0)
            self.settle()
            error = client.streams[numbers["error"]]
            self.assertEqual((error.received, error.finished), (b"", True))

    def test_text_is_failure(self) -> None:
        """A failure is told in words."""
        client, numbers, process = self.exec_over_spdy("v2.channel.k8s.io")
        process.end(3)
        self.settle()
        self.assertEqual(
            client.streams[numbers["error"]].received, b"command terminated with non-zero exit code: exit status 3"
        )

    def test_clients_that_name_no_version(self) -> None:
        """The oldest clients offer nothing and speak version 1."""
        client = self.connect(SpdyClient(self.target(Exec(command())), ()))
        self.assertTrue(client.response.startswith(b"HTTP/1.1 101 "))
        self.assertNotIn(b"x-stream-protocol-version", client.response.lower())


class TerminalTests(SessionTestCase):
    """Resizing."""

    def resize(self, client: SpdyClient, number: int, *sizes: tuple[int, int]) -> None:
        """Send sizes as kubectl does, (width, height)."""
        for width, height in sizes:
            client.send(number, json.dumps({"Width": width, "Height": height}).encode() + b"\n")
        self.settle()

    def test_sizes_in_order(self) -> None:
        """Each size reaches the process's terminal, height first."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        self.resize(client, numbers["resize"], (80, 24), (100, 30))
        self.assertEqual(process.sizes, [(24, 80), (30, 100)])

    def test_the_first_size_comes_before_the_process(self) -> None:
        """A size that is known before the command runs is told as soon as it does."""
        self.runtime.starting = Deferred()
        client = self.spdy(Exec(command(tty=True)))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "resize")}
        self.resize(client, numbers["resize"], (80, 24))
        self.runtime.starting.callback(None)
        self.settle()
        self.assertEqual(self.runtime.processes[0].sizes, [(24, 80)])

    def test_sizes_while_one_is_passed_on(self) -> None:
        """Of the sizes that come meanwhile the first and the last are passed on."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        process.resizing = waiting = Deferred()
        self.resize(client, numbers["resize"], (1, 1), (2, 2), (3, 3), (4, 4))
        process.resizing = None
        waiting.callback(None)
        self.settle()
        self.assertEqual(process.sizes, [(1, 1), (2, 2), (4, 4)])

    def test_sizes_that_mean_nothing(self) -> None:
        """Zero, negative, huge and missing sizes are ignored; so is what follows bytes that are no JSON."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        self.resize(client, numbers["resize"], (0, 0), (-1, 5), (70000, 5))
        client.send(numbers["resize"], b'{"Width":5} {"Width":"a","Height":[]} {"Width":9,"Height":8}')
        self.settle()
        client.send(numbers["resize"], b"nonsense")
        client.send(numbers["resize"], b'{"Width":1,"Height":1}')
        self.settle()
        self.assertEqual(process.sizes, [(8, 9)])

    def test_a_document_in_pieces(self) -> None:
        """A document may be cut anywhere."""
        client, numbers, process = self.exec_over_spdy(tty=True)
        for piece in (b'{"Wid', b'th":80,"Hei', b'ght":24}'):
            client.send(numbers["resize"], piece)
            self.settle()
        self.assertEqual(process.sizes, [(24, 80)])

    def test_without_a_terminal(self) -> None:
        """A resize stream without a terminal is refused."""
        client, _, _ = self.exec_over_spdy()
        number = client.open(streamtype="resize")
        self.settle()
        self.assertEqual(client.streams[number].reset, 3)


class AttachTests(SessionTestCase):
    """Attach ends with the container's streams."""

    def test_the_end_of_the_container(self) -> None:
        """The session ends with Success: how the container ended is told by its status."""
        client, numbers, process = self.attach_over_spdy()
        process.say(b"words")
        process.end(None)
        self.settle()
        self.assertEqual(client.streams[numbers["stdout"]].received, b"words")
        self.assertEqual(json.loads(bytes(client.streams[numbers["error"]].received)), SUCCESS)

    def test_detaching(self) -> None:
        """A client that goes is detached from the container."""
        client, _, process = self.attach_over_spdy()
        client.transport.abortConnection()
        self.settle()
        self.assertTrue(process.hung_up)


class BackPressureTests(SessionTestCase):
    """Whoever does not take bytes stops whoever sends them."""

    def test_a_client_that_does_not_read(self) -> None:
        """The engine's connection is not read while the client's is full, and read on when it is not."""
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
        """The client's connection is not read once the stream's read-ahead is full; nothing is lost."""
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

    def test_a_paused_output_is_not_taken_for_silence(self) -> None:
        """After the process has ended, what a slow client has not read yet is waited for."""
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


class WebSocketExecTests(SessionTestCase):
    """Over WebSocket channels."""

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
        """Without a sub-protocol, or with the first, the end is told in text."""
        for offered in ((), ("channel.k8s.io",)):
            client = self.websocket(Exec(command()), *offered) if offered else self._unnamed()
            self.runtime.processes[-1].end(3)
            self.settle()
            self.assertEqual(client.chosen, offered[0] if offered else "")
            self.assertEqual(client.channel(3), b"command terminated with non-zero exit code: exit status 3")

    def _unnamed(self) -> WebSocketClient:
        return self.connect(WebSocketClient(self.target(Exec(command())), ()))

    def test_base64(self) -> None:
        """Messages are text, a digit and base64, both ways."""
        client = self.websocket(Exec(command(stdin=True, stderr=False)), "v4.base64.channel.k8s.io")
        process = self.runtime.processes[0]
        client.send("0YWJj")
        process.say(b"out")
        self.settle()
        self.assertEqual((process.far.received, client.messages[-1]), (b"abc", "1b3V0"))

    def test_resize(self) -> None:
        """Sizes come on channel 4, the first before the process."""
        client = self.websocket(Exec(command(tty=True)))
        client.send(b'\x04{"Width":80,"Height":24}')
        self.settle()
        self.assertEqual(self.runtime.processes[0].sizes, [(24, 80)])

    def test_a_long_message_in_fragments(self) -> None:
        """Payload does not wait for the end of its message."""
        client = self.websocket(Exec(command(stdin=True)))
        client.send(b"\x00abc", last=False)
        self.settle()
        self.assertEqual(self.runtime.processes[0].far.received, b"abc")
        client.send(b"def", last=True)
        self.settle()
        self.assertEqual(self.runtime.processes[0].far.received, b"abcdef")

    def test_channels_that_are_not_there(self) -> None:
        """What comes for them is dropped."""
        client = self.websocket(Exec(command()))
        for message in (b"\x00no stdin was asked for", b"\x09nothing", b"\xff\x09"):
            client.send(message)
        self.settle()
        self.assertEqual((client.closed, self.runtime.processes[0].far.received), (None, b""))

    def test_what_is_no_base64(self) -> None:
        """The connection is closed with 1007, and the process hung up on."""
        client = self.websocket(Exec(command(stdin=True)), "v4.base64.channel.k8s.io")
        client.send("0!!!!")
        self.settle()
        self.assertEqual(client.closed, 1007)
        self.pass_time(10)
        self.assertTrue(self.runtime.processes[0].hung_up)

    def test_a_client_that_closes(self) -> None:
        """Its close is answered, and the process hung up on."""
        client = self.websocket(Exec(command()))
        client.close()
        self.settle()
        self.assertEqual(client.closed, 1000)
        self.pass_time(10)
        self.assertTrue(self.runtime.processes[0].hung_up)
        self.assertEqual(self.factory.sessions, {})

    def test_bytes_that_are_no_frames(self) -> None:
        """The connection is closed with 1002."""
        client = self.websocket(Exec(command()))
        client.write(b"\xff\xff\xff\xff\xff\xff")
        self.settle()
        self.assertEqual(client.closed, 1002)

    def test_pings(self) -> None:
        """Pings are answered and sent."""
        client = self.websocket(Exec(command()))
        client.send_ping()
        self.pass_time(95, step=5)
        self.assertEqual((client.pings, client.closed), (3, None))

    def test_attach(self) -> None:
        """The same channels for attach."""
        client = self.websocket(Attach(RemoteCommand("container", stdout=True)))
        self.runtime.processes[0].say(b"words")
        self.runtime.processes[0].end(None)
        self.settle()
        self.assertEqual((client.channel(1), json.loads(client.channel(3))), (b"words", SUCCESS))
