"""What ends a remote command: the ``Status`` document on the error stream (v4 and v5), or text (v1 to v3).

kubectl tells the exit code of a command from the document: a Failure with reason ``NonZeroExitCode`` whose cause
``ExitCode`` has it as text.  The older protocols have no such thing: nothing is success, any text is an error.
"""

from __future__ import annotations

import json

from attrs import frozen


@frozen
class RemoteStatus:
    """How a session ended."""

    #: ``""`` on success.
    reason: str = ""
    message: str = ""
    #: None unless the command ran and ended.
    exit_code: int | None = None

    def document(self) -> bytes:
        """The ``metav1.Status``, as JSON."""
        status: dict[str, object] = {"metadata": {}, "status": "Failure" if self.reason else "Success"}
        if self.reason:
            status["message"] = self.message
            status["reason"] = self.reason
        if self.reason == NON_ZERO_EXIT_CODE:
            status["details"] = {"causes": [{"reason": "ExitCode", "message": str(self.exit_code)}]}
        return json.dumps(status, separators=(",", ":")).encode()

    def text(self) -> bytes:
        """What clients of the protocols without documents are told."""
        return self.message.encode()


NON_ZERO_EXIT_CODE = "NonZeroExitCode"
INTERNAL_ERROR = "InternalError"

SUCCESS = RemoteStatus()


def ended(exit_code: int) -> RemoteStatus:
    """The command ran and ended with this code."""
    if not exit_code:
        return RemoteStatus(exit_code=0)
    message = f"command terminated with non-zero exit code: exit status {exit_code}"
    return RemoteStatus(NON_ZERO_EXIT_CODE, message, exit_code)


def failed(message: str) -> RemoteStatus:
    """The command could not be run, or its session not be kept up."""
    return RemoteStatus(INTERNAL_ERROR, message)
