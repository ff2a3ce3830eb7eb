"""Docker's credential helpers: programs such as ``docker-credential-pass`` and ``docker-credential-ecr-login``.

Docker's configuration names them (``credsStore``, ``credHelpers``).  A helper is run with the argument ``get``, reads a
registry's name from its standard input and writes an object with ``Username`` and ``Secret``; the user name ``<token>``
marks the secret as an identity token.  A helper without credentials for the registry prints that and exits with 1.
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

#: Seconds that a helper may run; some send requests to a cloud.
TIMEOUT: Final = 30.0
#: Bytes of output; a valid one has a line or two.
MAX_OUTPUT: Final = 64 << 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY_TOKEN = "<token>"


@define(eq=False)
class CredentialHelpers:
    """Runs credential helpers, as processes of *reactor*.

    :param environment: of the helpers; its PATH is searched for them.
    :param find: returns a helper's path, or None; has the signature of :func:`shutil.which`.
    """

    _reactor: Any
    _environment: Mapping[str, str]
    _find: Callable[[str, int, str], str | None] = shutil.which
    _log: Logger = field(factory=Logger, init=False)

    async def get(self, helper: str, server: str) -> JSONObject | None:
        """Return a helper's credentials for a registry, in the engine's form.

        None if it has none, or fails, which is logged.

        :param helper: its name without ``docker-credential-``.
        """
        if not _NAME.fullmatch(helper):
            self._log.warn("{helper!r} is not a valid name of a credential helper", helper=helper)
            return None
        name = f"docker-credential-{helper}"
        path = self._find(name, os.F_OK | os.X_OK, self._environment.get("PATH", os.defpath))
        if path is None:
            self._log.warn("credential helper {helper}, named in Docker's configuration, is not in PATH", helper=name)
            return None
        process = _HelperProcess(server)
        self._reactor.spawnProcess(process, path, [name, "get"], env=dict(self._environment))
        try:
            output = await process.ended.addTimeout(TIMEOUT, self._reactor, onTimeoutCancel=_timed_out)
            return _credentials(json.loads(output), server)
        except (TimeoutError, ProcessFailed, ValueError) as error:
            self._log.info(
                "{helper} returned no credentials for {server}: {error}", helper=name, server=server, error=error
            )
            return None


class ProcessFailed(Exception):
    """A helper did not exit with 0."""


class _HelperProcess(ProcessProtocol):
    def __init__(self, server: str) -> None:
        self.ended: Deferred[bytes] = Deferred(lambda _: self._kill())
        self._server = server
        self._output = bytearray()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._server.encode("utf-8"))
        transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the first MAX_OUTPUT bytes.  JSON that is cut off is rejected later."""
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def processEnded(self, reason: Failure) -> None:
        """Fire ``ended``.  An error does not contain the output, which may be a secret."""
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


def _timed_out(result: Any, seconds: float) -> Any:
    if isinstance(result, Failure) and result.check(CancelledError):
        raise TimeoutError(f"no answer within {seconds:g} s")
    return result


def _credentials(document: Any, server: str) -> JSONObject:
    if not isinstance(document, dict) or not isinstance(document.get("Secret"), str):
        raise ValueError("its output has no secret")
    username = document.get("Username")
    if username == _IDENTITY_TOKEN:
        return {"identitytoken": document["Secret"], "serveraddress": server}
    return {"username": str(username or ""), "password": document["Secret"], "serveraddress": server}
