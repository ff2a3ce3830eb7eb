"""The end of a remote command on the error stream: a ``Status`` document (v4 and v5), or text (v1 to v3).

kubectl reads the exit code of a command from the document: a Failure with reason ``NonZeroExitCode`` whose cause
``ExitCode`` has it as text.  In the older protocols no text is success, and any text is an error.
"""

from __future__ import annotations

import json

from attrs import frozen


@frozen
class RemoteStatus:
    """The result of a session."""

    #: ``""`` on success.
    reason: str = ""
    message: str = ""
    #: None unless the command ran and ended.
    exit_code: int | None = None

    def document(self) -> bytes:
        """Return the ``metav1.Status`` as JSON."""
        status: dict[str, object] = {"metadata": {}, "status": "Failure" if self.reason else "Success"}
        if self.reason:
            status["message"] = self.message
            status["reason"] = self.reason
        if self.reason == NON_ZERO_EXIT_CODE:
            status["details"] = {"causes": [{"reason": "ExitCode", "message": str(self.exit_code)}]}
        return json.dumps(status, separators=(",", ":")).encode()

    def text(self) -> bytes:
        """Return the text for clients of the protocols without documents."""
        return self.message.encode()


NON_ZERO_EXIT_CODE = "NonZeroExitCode"
INTERNAL_ERROR = "InternalError"

SUCCESS = RemoteStatus()


def ended(exit_code: int) -> RemoteStatus:
    """Return the status of a command that ran and ended with this code."""
    if not exit_code:
        return RemoteStatus(exit_code=0)
    message = f"command terminated with non-zero exit code: exit status {exit_code}"
    return RemoteStatus(NON_ZERO_EXIT_CODE, message, exit_code)


def failed(message: str) -> RemoteStatus:
    """Return the status of a command that could not be run, or whose session failed."""
    return RemoteStatus(INTERNAL_ERROR, message)
