"""A user's side of a cluster: kubectls, old and new, told which transport to use, at a terminal or not."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

from attrs import define, field, frozen

from tests.harness.clock import scaled
from tests.harness.kube_api import KubeAPI
from tests.harness.kubectls import Kubectl, kubectls

#: From here on kubectl can do remote commands and port-forward over WebSocket.
_FIRST_WEBSOCKETS = (1, 30)


@frozen
class Client:
    """A kubectl and the transport it is told to use."""

    kubectl: Kubectl
    websockets: bool

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.kubectl.name}-{'websocket' if self.websockets else 'spdy'}"


def clients() -> list[Client]:
    """The oldest, the last before WebSocket, and the newest over both."""
    found = kubectls()
    old = [one for one in found if one.version < _FIRST_WEBSOCKETS]
    new = [one for one in found if one.version >= _FIRST_WEBSOCKETS]
    chosen = [Client(one, False) for one in dict.fromkeys(old[:1] + old[-1:])]
    if new:
        chosen += [Client(new[-1], False), Client(new[-1], True)]
    return chosen


@define(eq=False)
class Kube:
    """A cluster of one node, and kubectl for it."""

    api: KubeAPI
    client: Client
    _running: list[subprocess.Popen[Any]] = field(factory=list, init=False)

    def command(self, *arguments: str) -> list[str]:
        """A command line."""
        return [str(self.client.kubectl.path), f"--kubeconfig={self.api.kubeconfig}", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment that chooses the transport."""
        choice = str(self.client.websockets).lower()
        return os.environ | {
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": choice,
            "KUBECTL_PORT_FORWARD_WEBSOCKETS": choice,
            "HOME": str(self.api.directory),
            "TERM": "xterm",
        }

    def run(self, *arguments: str, data: bytes = b"", within: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run kubectl to its end."""
        return subprocess.run(
            self.command(*arguments), input=data, capture_output=True, env=self.environment, timeout=scaled(within)
        )

    def output(self, *arguments: str, data: bytes = b"") -> bytes:
        """Standard output of a kubectl that succeeds."""
        run = self.run(*arguments, data=data)
        assert run.returncode == 0, run
        return run.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start kubectl; it is ended after the test."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment)
        self._running.append(process)
        return process

    def complaints(self) -> bytes:
        """What the kubectl that was started last has newly written to standard error."""
        stream = self._running[-1].stderr
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], 0)
        return os.read(stream.fileno(), 65536) if ready else b""

    def end(self) -> None:
        """End what runs."""
        for process in self._running:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Terminal:
    """A kubectl whose standard streams are a terminal."""

    def __init__(self, kube: Kube, *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self._seen = b""
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            command = kube.command(*arguments)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.execve(command[0], command, kube.environment)
        self.resize(*size)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def expect(self, pattern: str, *, within: float = 30) -> str:
        """Read until *pattern* is there; returns what it matched and forgets all up to it."""
        deadline = time.monotonic() + scaled(within)
        while True:
            found = re.search(pattern.encode(), self._seen)
            if found:
                self._seen = self._seen[found.end() :]
                return found.group().decode()
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in {self._seen!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            assert data, f"kubectl ended; no {pattern!r} in {self._seen!r}"
            self._seen += data

    def exit_code(self, *, within: float = 30) -> int:
        """Read to the end; kubectl's exit code."""
        deadline = time.monotonic() + scaled(within)
        while True:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            try:
                data = os.read(self._master, 65536) if ready else b"-"
            except OSError:
                data = b""
            if not data:
                break
            assert time.monotonic() < deadline, "kubectl does not end"
        _, status = os.waitpid(self.pid, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """The user's connection drops."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)
