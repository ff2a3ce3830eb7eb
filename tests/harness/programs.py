"""Programs that tests run beside themselves: started with a log file, watched while starting, always ended.

Each is started through ``setpriv --pdeathsig``, so that the kernel ends it when the test process dies without a word.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.harness.clock import scaled


class Program:
    """One program with its log file.  It may be started again after it has ended; the log goes on."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._environment = dict(environment) if environment is not None else None
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What ``Popen.returncode`` is; None while it runs."""
        return None if self._process is None else self._process.poll()

    def log_text(self) -> str:
        """All that it has written to standard output and error so far."""
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 60) -> str:
        """The last lines of its log."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def start(self, ready: Callable[[], bool], *, within: float = 30.0) -> float:
        """Start it and wait until *ready*; returns the seconds that took.

        A program that ends before it is ready, or is not ready in time, is an error that shows its log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if self._environment is None else os.environ | self._environment,
                cwd=self._directory,
            )
        while not ready():
            if not self.alive:
                raise RuntimeError(f"{self.name} ended with {self.exit_status} before it was ready:\n{self.tail()}")
            if time.monotonic() - began > scaled(within):
                self.kill()
                raise RuntimeError(f"{self.name} was not ready within {scaled(within):g} s:\n{self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def stop(self, *, within: float = 30.0) -> int | None:
        """SIGTERM, and SIGKILL if that does not end it in time; returns the exit status."""
        if self._process is None:
            return None
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(scaled(within))
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None and self.alive:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)
