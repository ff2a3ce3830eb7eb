"""The end of an exec over SPDY: its status, the end of its output, and clients that disconnect."""

from __future__ import annotations

from criwist.errors import EngineFailure
from criwist.streaming.sessions.process_streams import DRAIN_SILENCE
from criwist.streaming.sessions.remote_command import STREAM_WAIT
from criwist.streaming.targets import Exec
from criwist.wire.stdcopy import Stream
from tests.streaming.session_doubles import SUCCESS, SessionTestCase, command


class StatusTests(SessionTestCase):
    """The status of a session, on its error stream."""

    def test_success(self) -> None:
        """Exit code 0 is Success."""
        client, numbers, process = self.exec_over_spdy()
        process.end(0)
        self.settle()
        self.assertEqual(self.status(client, numbers["error"]), SUCCESS)

    def test_a_command_that_cannot_be_started(self) -> None:
        """The engine's error text is the message of an InternalError."""
        self.runtime.refusal = EngineFailure("no such program")
        client = self.spdy(Exec(command()))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "stderr")}
        self.settle()
        status = self.status(client, numbers["error"])
        self.assertEqual((status["reason"], status["message"]), ("InternalError", "no such program"))

    def test_an_unexpected_error(self) -> None:
        """An unexpected error is logged, and the client gets an InternalError."""
        self.runtime.refusal = ZeroDivisionError("oops")
        client = self.spdy(Exec(command()))
        numbers = {role: client.open(streamtype=role) for role in ("error", "stdout", "stderr")}
        self.settle()
        self.assertEqual(self.status(client, numbers["error"])["reason"], "InternalError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_engine_s_error_text(self) -> None:
        """The text on the engine's own error stream is the message of an InternalError, not output."""
        client, numbers, process = self.exec_over_spdy()
        process.say(b"the log is gone", Stream.SYSTEM_ERROR)
        process.end(0)
        self.settle()
        status = self.status(client, numbers["error"])
        self.assertEqual((status["reason"], status["message"]), ("InternalError", "the log is gone"))

    def test_output_that_is_not_framed(self) -> None:
        """Output that is not framed ends the session with an error text."""
        client, numbers, process = self.exec_over_spdy()
        process.far.connection.write(b"surprise!")
        self.settle()
        process.exit(0)
        self.settle()
        self.assertIn("cannot be understood", str(self.status(client, numbers["error"])["message"]))

    def test_shutdown(self) -> None:
        """A session that criwist ends at its shutdown has a status with that reason."""
        client, numbers, process = self.exec_over_spdy()
        done: list[int] = []
        self.factory.shut_down(lambda: done.append(1))
        self.settle()
        self.assertIn("stopping", str(self.status(client, numbers["error"])["message"]))
        self.assertTrue(process.hung_up)
        self.assertEqual(done, [1])


class EndTests(SessionTestCase):
    """The end of the process, of its output, and of the client."""

    def test_a_child_that_holds_the_output(self) -> None:
        """After the end of the process the session ends when the output has been silent for DRAIN_SILENCE seconds."""
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

    def test_a_client_that_disconnects(self) -> None:
        """hang_up() is called for the process, and the session ends."""
        client, _, process = self.exec_over_spdy(stdin=True)
        client.transport.loseConnection()
        self.settle()
        self.assertTrue(process.hung_up)
        self.assertTrue(process.far.lost)
        self.assertEqual(self.factory.sessions, {})

    def test_a_client_that_never_opens_its_streams(self) -> None:
        """A client that does not open its streams is disconnected after STREAM_WAIT seconds."""
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
