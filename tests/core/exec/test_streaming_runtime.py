"""Streams of containers, on a node in memory."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from zope.interface.verify import verifyObject

from criwist import errors
from criwist.core.exec.streaming_runtime import StreamingRuntime
from criwist.interfaces.streaming import IStreamingRuntime, RemoteCommand
from tests.core.memory_node import NodeTestCase
from tests.doubles.memory_processes import Process, Program


class Output(Protocol):
    """Collects output."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.ended.callback(None)


class StreamingRuntimeTests(NodeTestCase):
    """Exec, attach and port-forward."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox_id = self.run_pod()
        self.container_id = self.run_container(self.sandbox_id)
        self.connected: list[tuple[int, str, int]] = []
        self.hung_up: list[int] = []
        node = self.node
        self.streams = StreamingRuntime(
            node.docker.client,
            node.core.cache,
            node.core.feed,
            node.clock,
            connect=self._connect,
            hang_up=lambda pid, container: self.hung_up.append(pid),
        )

    async def _connect(self, pid: int, container: str, port: int) -> socket.socket:
        self.connected.append((pid, container, port))
        return socket.socketpair()[0]

    def command(self, *words: str, **flags: bool) -> RemoteCommand:
        """Return a request with this command line."""
        return RemoteCommand(self.container_id, words, **flags)

    def result(self, coroutine: Any) -> Any:
        """Return the coroutine's result, which must be there at once."""
        return self.successResultOf(self.node.run(coroutine))

    def failure(self, coroutine: Any, kind: type[Exception]) -> str:
        """Return the text of the coroutine's error."""
        return str(self.failureResultOf(self.node.run(coroutine), kind).value)

    def started(self, *words: str, program: Program, **flags: bool) -> tuple[Any, Output]:
        """Return a started exec and its output."""
        self.node.docker.programs[words] = program
        process = self.result(self.streams.exec(self.command(*words, **flags)))
        output = Output()
        process.stream.start(output)
        self.node.settle()
        return process, output

    def test_the_interface(self) -> None:
        """StreamingRuntime provides IStreamingRuntime."""
        verifyObject(IStreamingRuntime, self.streams)

    # -- Admission

    def test_admitted_with_the_full_id(self) -> None:
        """An admitted request has the full id in place of its prefix."""
        request = RemoteCommand(self.container_id[:12], ("ls",), stdout=True)
        self.assertEqual(self.result(self.streams.admit_exec(request)).container_id, self.container_id)
        attach = RemoteCommand(self.container_id[:12], stdout=True)
        self.assertEqual(self.result(self.streams.admit_attach(attach)).container_id, self.container_id)
        self.assertEqual(self.result(self.streams.admit_port_forward(self.sandbox_id[:12])), self.sandbox_id)

    def test_illegal_streams(self) -> None:
        """No stream at all, and a terminal with stderr, are InvalidArgument, which names the field."""
        for admit, words in ((self.streams.admit_exec, ("ls",)), (self.streams.admit_attach, ())):
            nothing = self.failure(admit(self.command(*words)), errors.InvalidArgument)
            self.assertIn("stdin, stdout, stderr", nothing)
            both = self.command(*words, stdout=True, stderr=True, tty=True)
            self.assertIn("stderr", self.failure(admit(both), errors.InvalidArgument))

    def test_no_command(self) -> None:
        """An exec without a command is InvalidArgument."""
        self.assertIn("cmd", self.failure(self.streams.admit_exec(self.command(stdout=True)), errors.InvalidArgument))

    def test_attach_with_another_terminal_than_the_container_s(self) -> None:
        """A terminal on a container without one is InvalidArgument."""
        request = self.command(stdout=True, tty=True)
        self.assertIn("tty", self.failure(self.streams.admit_attach(request), errors.InvalidArgument))

    def test_what_does_not_exist_or_run(self) -> None:
        """An unknown container is NotFound, a stopped one is FailedPrecondition."""
        unknown = RemoteCommand("f" * 64, ("ls",), stdout=True)
        self.failure(self.streams.admit_exec(unknown), errors.NotFound)
        self.failure(self.streams.admit_attach(unknown), errors.NotFound)
        self.failure(self.streams.admit_port_forward("f" * 64), errors.NotFound)
        self.result(self.node.containers.stop(self.container_id, 0))
        self.failure(self.streams.admit_exec(self.command("ls", stdout=True)), errors.FailedPrecondition)
        self.result(self.node.sandboxes.stop(self.sandbox_id))
        self.failure(self.streams.admit_port_forward(self.sandbox_id), errors.FailedPrecondition)

    # -- Exec

    def test_an_exec_with_its_streams(self) -> None:
        """The exec is created with the streams of the request, and with detach keys that nobody types."""
        self.started("run", program=Program(exit_code=0), stdin=True, stdout=True)
        (one,) = self.node.docker.execs.all.values()
        requested = {key: one.config[key] for key in ("AttachStdin", "AttachStdout", "AttachStderr", "Tty")}
        self.assertEqual(requested, {"AttachStdin": True, "AttachStdout": True, "AttachStderr": False, "Tty": False})
        self.assertNotIn("ctrl-p", one.config["DetachKeys"])

    def test_the_exit_code(self) -> None:
        """``ended`` returns the code when the engine has reported the end."""
        process, output = self.started("run", program=Program(exit_code=7, stdout=b"out"), stdout=True)
        self.assertEqual(self.result(process.ended(output.ended)), 7)
        self.assertIn(b"out", output.received)

    def test_the_end_comes_with_the_event(self) -> None:
        """A process that closes its output and runs on has not ended."""
        process, output = self.started("run", program=Program(), stdout=True)
        ended = self.node.run(process.ended(output.ended))
        output.transport.loseConnection()  # type: ignore[union-attr]
        self.node.settle()
        self.assertNoResult(ended)
        (one,) = self.node.docker.execs.all.values()
        one.process.end(5)  # type: ignore[union-attr]
        self.node.settle()
        self.assertEqual(self.successResultOf(ended), 5)

    def test_a_refusal_of_the_runtime(self) -> None:
        """A command that cannot be started has the reason in its output, and the shell's exit code for it."""
        process, output = self.started("nope", program=Program(refusal="no such program"), stdout=True)
        self.assertEqual(self.result(process.ended(output.ended)), 126)
        self.assertIn(b"no such program", output.received)

    def test_resize(self) -> None:
        """The size reaches the exec."""
        process, _ = self.started("sh", program=Program(), stdout=True, tty=True)
        self.result(process.resize(height=24, width=80))
        (one,) = self.node.docker.execs.all.values()
        self.assertEqual(one.size, (24, 80))

    def test_resize_before_the_terminal_is_there(self) -> None:
        """A resize is retried until the terminal is there; for a process that has ended it is no error."""
        process, _ = self.started("sh", program=Program(), stdout=True, tty=True)
        (one,) = self.node.docker.execs.all.values()
        self.node.docker.fail("POST /exec/.*/resize", 409, "not yet")
        resizing = self.node.run(process.resize(height=24, width=80))
        for _ in range(10):
            self.node.clock.advance(0.02)
            self.node.settle()
        self.successResultOf(resizing)
        self.assertEqual(one.size, (24, 80))
        one.process.end(0)  # type: ignore[union-attr]
        self.node.settle()
        self.node.docker.fail("POST /exec/.*/resize", 409, "over")
        self.result(process.resize(height=1, width=1))

    def test_only_a_terminal_has_no_half(self) -> None:
        """An exec with a terminal does not half-close: there the engine takes the end of input for the session's."""
        process, _ = self.started("sh", program=Program(), stdout=True, tty=True)
        self.assertFalse(process.half_closes)
        process, _ = self.started("sh", program=Program(), stdout=True)
        self.assertTrue(process.half_closes)

    # -- The end of a client

    def test_hanging_up(self) -> None:
        """A process with a terminal gets SIGHUP, by its pid on the host; one without only loses its streams."""
        process, output = self.started("sh", program=Program(), stdout=True)
        self.result(process.hang_up())
        self.assertEqual((self.hung_up, output.ended.called), ([], True))
        process, output = self.started("sh", program=Program(), stdout=True, tty=True)
        self.result(process.hang_up())
        pid = list(self.node.docker.execs.all.values())[-1].process.pid  # type: ignore[union-attr]
        self.assertEqual((self.hung_up, output.ended.called), ([pid], True))

    def test_hanging_up_on_what_has_ended(self) -> None:
        """No signal is sent for a process that has ended, whose pid may be another's."""
        process, _ = self.started("sh", program=Program(exit_code=0), stdout=True, tty=True)
        self.result(process.hang_up())
        self.assertEqual(self.hung_up, [])

    def test_a_client_that_goes_while_the_command_is_started(self) -> None:
        """Its connection is dropped; a process that is started a moment later all the same gets SIGHUP."""
        self.node.docker.programs[("sh",)] = Program()
        self.node.docker.hold("POST /exec/.*/start")
        starting = self.node.run(self.streams.exec(self.command("sh", stdout=True, tty=True)))
        starting.cancel()
        self.node.settle()
        self.assertNoResult(starting)
        (one,) = self.node.docker.execs.all.values()
        one.process = Process(4321, Program(), lambda *said: None)
        self.node.clock.advance(0.02)
        self.node.settle()
        self.failureResultOf(starting)
        self.assertEqual(self.hung_up, [4321])

    def test_a_client_that_goes_before_the_command_is_started(self) -> None:
        """A command that is never started is polled for a limited time."""
        self.node.docker.hold("POST /exec/.*/start")
        starting = self.node.run(self.streams.exec(self.command("sh", stdout=True, tty=True)))
        starting.cancel()
        for _ in range(260):
            self.node.clock.advance(0.02)
            self.node.settle()
        self.failureResultOf(starting)
        self.assertEqual(self.hung_up, [])

    # -- Attach, ports

    def test_attach(self) -> None:
        """An attach session ends with its streams and has no exit code."""
        process = self.result(self.streams.attach(self.command(stdout=True)))
        output = Output()
        process.stream.start(output)
        ended = self.node.run(process.ended(output.ended))
        self.assertNoResult(ended)
        self.result(self.node.containers.stop(self.container_id, 0))
        self.assertEqual(self.successResultOf(ended), None)
        self.result(process.resize(height=1, width=1))

    def test_detaching(self) -> None:
        """The container runs on after a detach."""
        process = self.result(self.streams.attach(self.command(stdout=True)))
        process.stream.start(Output())
        self.result(process.hang_up())
        self.assertTrue(self.node.cache.snapshot.container(self.container_id).running)

    def test_ports(self) -> None:
        """The connection is made in the network namespace of the sandbox's pause."""
        connected = self.result(self.streams.connect_port(self.sandbox_id, 80))
        connected.close()
        pid = self.node.cache.snapshot.sandbox(self.sandbox_id).pid
        self.assertEqual(self.connected, [(pid, self.sandbox_id, 80)])
        self.result(self.node.sandboxes.stop(self.sandbox_id))
        self.failure(self.streams.connect_port(self.sandbox_id, 80), errors.FailedPrecondition)
