"""Sockets that systemd passes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile

import pytest
from twisted.internet.task import Clock

from criwist.errors import FailedPrecondition
from criwist.rpc.inherited_socket import inherited_socket

#: Runs as the service does: the socket is descriptor 3, and its own pid is in the environment.
_SERVICE = """
import os
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "cri"}
from twisted.internet import reactor
from criwist.rpc.inherited_socket import inherited_socket
passed = inherited_socket(reactor)
print(passed.path, oct(passed.mode))
passed.retire()
"""


def test_path_and_mode_are_the_units() -> None:
    """The service manager's path and mode are kept, and connections in the old queue are closed."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path = f"{directory}/cri.sock"
        listening.bind(path)
        os.chmod(path, 0o640)
        listening.listen()
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(path)
            service = subprocess.run(
                [sys.executable, "-c", _SERVICE],
                preexec_fn=lambda: os.dup2(listening.fileno(), 3),
                close_fds=False,
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            )
            assert service.stdout.split() == [path, "0o640"]
            waiting.settimeout(5)
            assert waiting.recv(1) == b""


def test_nothing_was_passed() -> None:
    """Without a socket unit, the error names the missing socket."""
    with pytest.raises(FailedPrecondition, match="no socket was passed"):
        inherited_socket(Clock())
