"""Credential helpers are run, within limits."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.core.images.credential_helpers import MAX_OUTPUT, TIMEOUT, CredentialHelpers


class Process:
    """The transport of a helper's protocol."""

    def __init__(self, protocol: Any, executable: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.protocol = protocol
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.input = b""
        self.closed = False
        self.signals: list[str] = []

    def write(self, data: bytes) -> None:
        """Record input."""
        self.input += data

    def closeStdin(self) -> None:
        """Record the end of the input."""
        self.closed = True

    def signalProcess(self, name: str) -> None:
        """Record the signal, and end."""
        self.signals.append(name)
        self.protocol.processEnded(Failure(ProcessTerminated(signal=9)))

    def finish(self, output: bytes, status: int = 0) -> None:
        """Write *output* and exit."""
        self.protocol.outReceived(output)
        reason = ProcessDone(0) if status == 0 else ProcessTerminated(status)
        self.protocol.processEnded(Failure(reason))


@implementer(IReactorProcess)
class Reactor(Clock):
    """Starts processes that the test controls."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, protocol: Any, executable: str, args: Any = (), env: Any = None, **more: Any) -> Any:  # type: ignore[override]
        """Start one more process."""
        process = Process(protocol, executable, list(args), env)
        self.processes.append(process)
        protocol.makeConnection(process)
        return process


class CredentialHelpersTests(SynchronousTestCase):
    """A helper's result for one registry."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.helpers = CredentialHelpers(self.reactor, {"PATH": "/there"}, self.find)

    def find(self, name: str, mode: int, path: str) -> str | None:
        """Find every helper but one."""
        return None if name == "docker-credential-absent" else f"{path}/{name}"

    def start(self, helper: str = "pass") -> Deferred[Any]:
        """Start to get credentials."""
        return Deferred.fromCoroutine(self.helpers.get(helper, "r.example"))

    def result(self, output: bytes, status: int = 0) -> Any:
        """Return the credentials that are made of this output."""
        getting = self.start()
        self.reactor.processes[-1].finish(output, status)
        return self.successResultOf(getting)

    def test_arguments_and_input(self) -> None:
        """The argument is ``get``; standard input is the registry, and ends."""
        self.start()
        process = self.reactor.processes[0]
        self.assertEqual(process.arguments, ["docker-credential-pass", "get"])
        self.assertEqual((process.input, process.closed, process.environment), (b"r.example", True, {"PATH": "/there"}))
        self.assertEqual(process.executable, "/there/docker-credential-pass")

    def test_user_and_secret(self) -> None:
        """User and secret are returned in the engine's form."""
        self.assertEqual(
            self.result(b'{"ServerURL":"r.example","Username":"me","Secret":"pw"}\n'),
            {"username": "me", "password": "pw", "serveraddress": "r.example"},
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_an_identity_token(self) -> None:
        """A secret of the user ``<token>`` is an identity token."""
        self.assertEqual(
            self.result(b'{"Username":"<token>","Secret":"t"}'), {"identitytoken": "t", "serveraddress": "r.example"}
        )

    def test_failures_are_no_credentials(self) -> None:
        """An exit status, no JSON, another shape and too much output are None."""
        for output, status in (
            (b"credentials not found in native keychain\n", 1),
            (b"", 0),
            (b"[]", 0),
            (b'{"Username":"me"}', 0),
            (b'{"Secret":"' + b"x" * MAX_OUTPUT + b'"}', 0),
        ):
            self.assertIsNone(self.result(output, status))

    def test_a_program_that_hangs_is_killed(self) -> None:
        """At the timeout, and the result is None."""
        getting = self.start()
        self.reactor.advance(TIMEOUT)
        self.assertIsNone(self.successResultOf(getting))
        self.assertEqual(self.reactor.processes[0].signals, ["KILL"])

    def test_invalid_names(self) -> None:
        """No process is started for a path, nor for a helper that does not exist."""
        for helper in ("../x", "", "a/b", "-x", "a b", "absent"):
            self.assertIsNone(self.successResultOf(self.start(helper)))
        self.assertEqual(self.reactor.processes, [])
