"""Programs that keep credentials are asked, within limits."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from criwist.core.images.credential_programs import LIMIT, MAX_OUTPUT, CredentialPrograms


class Process:
    """What a program's protocol sees of it."""

    def __init__(self, protocol: Any, executable: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.protocol = protocol
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.input = b""
        self.closed = False
        self.signals: list[str] = []

    def write(self, data: bytes) -> None:
        """Its input."""
        self.input += data

    def closeStdin(self) -> None:
        """The end of its input."""
        self.closed = True

    def signalProcess(self, name: str) -> None:
        """It dies of it."""
        self.signals.append(name)
        self.protocol.processEnded(Failure(ProcessTerminated(signal=9)))

    def says(self, output: bytes, status: int = 0) -> None:
        """It answers and exits."""
        self.protocol.outReceived(output)
        reason = ProcessDone(0) if status == 0 else ProcessTerminated(status)
        self.protocol.processEnded(Failure(reason))


@implementer(IReactorProcess)
class Reactor(Clock):
    """Starts processes that the test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, protocol: Any, executable: str, args: Any = (), env: Any = None, **more: Any) -> Any:
        """One more."""
        process = Process(protocol, executable, list(args), env)
        self.processes.append(process)
        protocol.makeConnection(process)
        return process


class CredentialProgramsTests(SynchronousTestCase):
    """One question at a time."""

    def setUp(self) -> None:
        """No process yet."""
        self.reactor = Reactor()
        self.programs = CredentialPrograms(self.reactor, {"PATH": "/there"}, self.find)

    def find(self, name: str, mode: int, path: str) -> str | None:
        """There are programs in one directory, but one."""
        return None if name == "docker-credential-absent" else f"{path}/{name}"

    def ask(self, program: str = "pass") -> Deferred[Any]:
        """Ask it."""
        return Deferred.fromCoroutine(self.programs.get(program, "r.example"))

    def answered(self, output: bytes, status: int = 0) -> Any:
        """What comes of this answer."""
        asked = self.ask()
        self.reactor.processes[-1].says(output, status)
        return self.successResultOf(asked)

    def test_the_question(self) -> None:
        """``get`` and the registry on standard input, which ends."""
        self.ask()
        process = self.reactor.processes[0]
        self.assertEqual(process.arguments, ["docker-credential-pass", "get"])
        self.assertEqual((process.input, process.closed, process.environment), (b"r.example", True, {"PATH": "/there"}))
        self.assertEqual(process.executable, "/there/docker-credential-pass")

    def test_user_and_secret(self) -> None:
        """As the engine wants them."""
        self.assertEqual(
            self.answered(b'{"ServerURL":"r.example","Username":"me","Secret":"pw"}\n'),
            {"username": "me", "password": "pw", "serveraddress": "r.example"},
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_an_identity_token(self) -> None:
        """Is told by its user name."""
        self.assertEqual(
            self.answered(b'{"Username":"<token>","Secret":"t"}'), {"identitytoken": "t", "serveraddress": "r.example"}
        )

    def test_no_answer_is_no_credentials(self) -> None:
        """An exit status, no JSON, another shape, too much of it."""
        for output, status in (
            (b"credentials not found in native keychain\n", 1),
            (b"", 0),
            (b"[]", 0),
            (b'{"Username":"me"}', 0),
            (b'{"Secret":"' + b"x" * MAX_OUTPUT + b'"}', 0),
        ):
            self.assertIsNone(self.answered(output, status))

    def test_a_program_that_hangs_is_killed(self) -> None:
        """At the limit, and there are no credentials."""
        asked = self.ask()
        self.reactor.advance(LIMIT)
        self.assertIsNone(self.successResultOf(asked))
        self.assertEqual(self.reactor.processes[0].signals, ["KILL"])

    def test_names_are_names(self) -> None:
        """A path is not run, nor what is not there."""
        for program in ("../x", "", "a/b", "-x", "a b", "absent"):
            self.assertIsNone(self.successResultOf(self.ask(program)))
        self.assertEqual(self.reactor.processes, [])
