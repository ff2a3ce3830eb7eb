"""A running node over ssh: commands, files both ways, and its UNIX sockets forwarded to this machine.

One connection carries everything, because in emulation each new one costs seconds.  A reboot needs a new one.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import define, field

from tools.node.places import ROOT

#: Seconds.  The restart of a service may take minutes on a busy machine.
COMMAND_LIMIT = 600.0


class CommandFailed(Exception):
    """A command in the node ended with a status other than 0."""


@define(eq=False)
class Guest:
    """The node whose sshd answers on *port* of the loopback.

    :param directory: the run's directory, for sockets.
    """

    directory: Path
    port: int
    key: Path
    _forward: subprocess.Popen[bytes] | None = field(default=None, init=False)

    # -- passing the node to another process

    def save(self) -> Path:
        """Write a file that says how to reach the node, and return its path."""
        path = self.directory / "node.json"
        path.write_text(json.dumps({"port": self.port, "key": str(self.key)}))
        return path

    @classmethod
    def load(cls, path: Path) -> Guest:
        """Return the node of a file that :meth:`save` wrote."""
        saved = json.loads(path.read_text())
        return cls(path.parent, saved["port"], Path(saved["key"]))

    # -- commands

    def ssh(self, *options: str) -> list[str]:
        """Return the ssh command line, without a remote command."""
        settings = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "30",
            "ServerAliveInterval": "20",
            "ServerAliveCountMax": "15",
            "ControlMaster": "auto",
            "ControlPath": str(self.directory / "ssh"),
            "ControlPersist": "600",
        }
        words = ["ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port)]
        for name, value in settings.items():
            words += ["-o", f"{name}={value}"]
        return [*words, *options, "root@127.0.0.1"]

    def run(self, command: str, *, within: float = COMMAND_LIMIT, check: bool = True) -> str:
        """Run a shell command, and return its output, both streams together.

        :raises CommandFailed: it failed and *check* is true.
        :raises subprocess.TimeoutExpired: it lasted longer than *within* seconds.
        """
        run = subprocess.run(
            [*self.ssh("-n"), command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
        if check and run.returncode != 0:
            raise CommandFailed(f"{command}: status {run.returncode}\n{run.stdout}")
        return run.stdout

    def succeeds(self, command: str, *, within: float = COMMAND_LIMIT) -> bool:
        """Return whether a shell command ends with status 0."""
        try:
            self.run(command, within=within)
        except CommandFailed:
            return False
        return True

    def stream(self, command: str, *, within: float) -> int:
        """Run a shell command with its output on this process's, and return its status."""
        return subprocess.run([*self.ssh("-n"), command], timeout=within, check=False).returncode

    def reboot(self, *, within: float = 600) -> None:
        """Reboot the node, and wait until its sshd accepts a login.

        :raises CommandFailed: it does not in time.
        """
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        self.run("systemctl reboot", check=False)
        self.disconnect()
        deadline = time.monotonic() + within
        while not self.answers() or self.run("cat /proc/sys/kernel/random/boot_id") == before:
            if time.monotonic() > deadline:
                raise CommandFailed(f"reboot: not back within {within:g} s")
            self.disconnect()
            time.sleep(2)

    def shell(self) -> int:
        """Run an interactive shell, and return its status."""
        return subprocess.run(self.ssh("-t"), check=False).returncode

    def answers(self) -> bool:
        """Return whether sshd accepts a login now."""
        try:
            return self.succeeds("true", within=40)
        except subprocess.TimeoutExpired:
            return False

    # -- files

    def put(self, source: Path, names: Iterable[str], target: str) -> None:
        """Copy files *names* below *source* to below *target* in the node."""
        listed = "\0".join(names).encode()
        with subprocess.Popen(
            ["tar", "--create", f"--directory={source}", "--null", "--files-from=-", "--owner=0", "--group=0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as tar:
            command = f"mkdir -p {shlex.quote(target)} && tar -x -C {shlex.quote(target)}"
            with subprocess.Popen([*self.ssh(), command], stdin=tar.stdout) as unpack:
                if tar.stdin is None:
                    raise CommandFailed("tar has no standard input")
                tar.stdin.write(listed)
                tar.stdin.close()
                if unpack.wait(600) != 0 or tar.wait(60) != 0:
                    raise CommandFailed(f"copying files to {target} in the node failed")

    def write(self, text: str | bytes, target: str) -> None:
        """Write *target* with this content."""
        data = text.encode() if isinstance(text, str) else text
        command = f"mkdir -p $(dirname {shlex.quote(target)}) && cat > {shlex.quote(target)}"
        subprocess.run([*self.ssh(), command], input=data, check=True, timeout=300)

    def fetch(self, command: str, target: Path, *, within: float = 300) -> None:
        """Write the standard output of a command in the node to *target*, also if the command fails."""
        with target.open("wb") as output:
            subprocess.run([*self.ssh("-n"), command], stdout=output, check=False, timeout=within)

    # -- sockets

    def socket(self, remote: str) -> Path:
        """Return a UNIX socket here that is forwarded to *remote* in the node, until the node is rebooted."""
        self.close_socket()
        local = self.directory / "forwarded.sock"
        local.unlink(missing_ok=True)
        options: Sequence[str] = ("-S", "none", "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{local}:{remote}")
        self._forward = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *self.ssh(*options)], cwd=ROOT)
        deadline = time.monotonic() + 60
        while not local.exists():
            if self._forward.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"{remote} of the node cannot be forwarded")
            time.sleep(0.1)
        return local

    def close_socket(self) -> None:
        """End the forwarding."""
        if self._forward is not None:
            self._forward.terminate()
            self._forward.wait(30)
            self._forward = None

    def disconnect(self) -> None:
        """Close the connection: the node is about to stop or to reboot."""
        self.close_socket()
        subprocess.run([*self.ssh("-O", "exit")], check=False, capture_output=True, timeout=30)
        (self.directory / "ssh").unlink(missing_ok=True)
