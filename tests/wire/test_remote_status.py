"""The end of a remote command, as clients read it."""

from __future__ import annotations

import json

from criwist.wire import remote_status


def test_success() -> None:
    """Success is a document without a reason, and no text."""
    assert json.loads(remote_status.SUCCESS.document()) == {"metadata": {}, "status": "Success"}
    assert remote_status.SUCCESS.text() == b""
    assert remote_status.ended(0).document() == remote_status.SUCCESS.document()


def test_an_exit_code() -> None:
    """The code is the message of the cause ExitCode, which kubectl reads."""
    document = json.loads(remote_status.ended(3).document())
    assert document == {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": "command terminated with non-zero exit code: exit status 3",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
    assert b"exit status 3" in remote_status.ended(3).text()


def test_other_failures() -> None:
    """Every other failure is an InternalError with the text for the user."""
    document = json.loads(remote_status.failed("no such container").document())
    assert document == {
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": "no such container",
    }
    assert remote_status.failed("no such container").text() == b"no such container"
