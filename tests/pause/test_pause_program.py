"""The pause programs in the package: their source, and their exit."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tools.build_pause import COMPILERS, PAUSE, build, obstacle

#: How each architecture calls itself, and the emulator that runs its programs elsewhere.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@pytest.mark.parametrize("architecture", COMPILERS)
def test_shipped_program_is_built_from_the_source(architecture: str) -> None:
    """The bytes in the package are the compiler's output for pause.c."""
    if problem := obstacle(architecture):
        if os.environ.get("CRIWIST_TEST_REQUIRED") == "1" and shutil.which(COMPILERS[architecture]) is None:
            pytest.fail(problem)
        pytest.skip(problem)
    assert build(architecture) == (PAUSE / f"pause-{architecture}").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("architecture", COMPILERS)
def test_program_waits_and_ends_on_signal(architecture: str, number: signal.Signals, tmp_path: Path) -> None:
    """Pause runs until SIGTERM or SIGINT and then exits with status 0."""
    program = tmp_path / "pause"
    shutil.copy(PAUSE / f"pause-{architecture}", program)
    program.chmod(0o755)
    with subprocess.Popen([*_emulator(architecture), str(program)]) as pause:
        with pytest.raises(subprocess.TimeoutExpired):
            pause.wait(0.2)
        pause.send_signal(number)
        assert pause.wait(10) == 0


def _emulator(architecture: str) -> list[str]:
    """The command that runs programs of an architecture here; skips the test if there is none."""
    machine = _MACHINES[architecture]
    if platform.machine() == machine:
        return []
    emulator = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if emulator is None:
        pytest.skip(f"no qemu-{machine} to run the {architecture} program")
    return [emulator]
