"""Programs that keep credentials: ``docker-credential-pass``, ``docker-credential-ecr-login``…

docker's configuration names them (``credsStore``, ``credHelpers``).  Such a program is run with the argument ``get``,
reads a registry's name from its standard input and writes an object with ``Username`` and ``Secret``; the user name
``<token>`` marks the secret as an identity token.  One that has nothing for the registry says so and exits with 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist.interfaces.engine import JSONObject

#: Seconds; some of them ask a cloud.
LIMIT: Final = 30.0
#: An answer is a line or two.
MAX_OUTPUT: Final = 64 << 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY_TOKEN = "<token>"


@define(eq=False)
class CredentialPrograms:
    """Runs them, as processes of *reactor*.

    :param environment: of the programs; they are looked for in its PATH.
    :param find: tells the path of a program that is found so.
    """

    _reactor: Any
    _environment: Mapping[str, str]
    _find: Callable[[str, int, str], str | None] = shutil.which
    _log: Logger = field(factory=Logger, init=False)

    async def get(self, program: str, server: str) -> JSONObject | None:
        """What the program, named without ``docker-credential-``, has for a registry, as the engine wants it.

        None if it has nothing, or fails, which is logged.
        """
        if not _NAME.fullmatch(program):
            self._log.warn("{program!r} cannot be the name of a credential program", program=program)
            return None
        name = f"docker-credential-{program}"
        path = self._find(name, os.F_OK | os.X_OK, self._environment.get("PATH", os.defpath))
        if path is None:
            self._log.warn("{program}, which docker's configuration names, is not to be found", program=name)
            return None
        run = _Run(server)
        self._reactor.spawnProcess(run, path, [name, "get"], env=dict(self._environment))
        try:
            output = await run.ended.addTimeout(LIMIT, self._reactor, onTimeoutCancel=_too_late)
            return _credentials(json.loads(output), server)
        except (TimeoutError, ProcessFailed, ValueError) as error:
            self._log.info(
                "{program} gave no credentials for {server}: {error}", program=name, server=server, error=error
            )
            return None


class ProcessFailed(Exception):
    """A program did not exit with 0."""


class _Run(ProcessProtocol):
    def __init__(self, server: str) -> None:
        self.ended: Deferred[bytes] = Deferred(lambda _: self._kill())
        self._server = server
        self._output = bytearray()

    def connectionMade(self) -> None:
        """Ask."""
        transport: Any = self.transport
        transport.write(self._server.encode("utf-8"))
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the beginning; what is cut off makes the rest unreadable."""
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def processEnded(self, reason: Failure) -> None:
        """Tell.  What the program wrote is not shown: it may be a secret."""
        if self.ended.called:
            return
        if reason.check(ProcessDone):
            self.ended.callback(bytes(self._output))
        else:
            self.ended.errback(Failure(ProcessFailed(reason.getErrorMessage())))

    def _kill(self) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return


def _too_late(result: Any, seconds: float) -> Any:
    if isinstance(result, Failure) and result.check(CancelledError):
        raise TimeoutError(f"no answer within {seconds:g} s")
    return result


def _credentials(answer: Any, server: str) -> JSONObject:
    if not isinstance(answer, dict) or not isinstance(answer.get("Secret"), str):
        raise ValueError("the answer holds no secret")
    username = answer.get("Username")
    if username == _IDENTITY_TOKEN:
        return {"identitytoken": answer["Secret"], "serveraddress": server}
    return {"username": str(username or ""), "password": answer["Secret"], "serveraddress": server}
