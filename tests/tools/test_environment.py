"""The tests' process, whatever started it: ``tests.harness.environment``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_SHOW = """
import os, resource, signal, sys, tempfile
from tests.harness.environment import normalize
normalize()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL, signal.getsignal(signal.SIGINT) is signal.default_int_handler,
      oct(os.umask(0)), tempfile.gettempdir(), os.environ.get("http_proxy"), os.environ.get("DOCKER_HOST"),
      os.environ.get("LC_ALL"), resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200, os.fstat(0) is not None)
"""
_EXPECTED = "True True 0o22 /tmp None None None True True\n"


@pytest.mark.parametrize(
    "before",
    [
        "trap '' HUP INT TERM PIPE",
        "umask 077",
        "ulimit -Sn 128",
        "exec 0<&-",
        "export TMPDIR=/dev/shm TZ=Asia/Kolkata LC_ALL=tr_TR.UTF-8 http_proxy=http://127.0.0.1:1 DOCKER_HOST=tcp://[::1]:1",
    ],
)
def test_the_shell_does_not_matter(before: str) -> None:
    """Signals, umask, limits, standard input and variables are the same whatever the shell has set."""
    command = ["sh", "-c", f'{before}; exec "$0" -c "$1"', sys.executable, _SHOW]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout == _EXPECTED
