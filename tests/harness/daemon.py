"""criwist as users start it: ``twistd criwist``, a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.harness.client import answers_version
from tests.harness.programs import Program

REPOSITORY = Path(__file__).resolve().parents[2]


class Daemon:
    """A criwist that keeps its socket, log and state under *root*.

    :param options: command line options by name with underscores: ``network_plugin="cni"`` is ``--network-plugin cni``;
        True is an option without a value, None leaves a default of ours out.
    """

    def __init__(self, root: Path, docker_endpoint: str, **options: str | bool | None) -> None:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.root = root
        self.socket = root / "criwist.sock"
        self.state = root / "state"
        self.options: dict[str, str | bool | None] = {
            "endpoint": self.endpoint,
            "docker_endpoint": docker_endpoint,
            "root_directory": str(self.state),
            "network_plugin": "bridge",
        }
        self.options |= options
        self.program = Program("criwist", self.command(), root / "criwist.log", directory=REPOSITORY)

    @property
    def endpoint(self) -> str:
        """Where it serves the CRI."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.program.pid

    def command(self) -> list[str]:
        """The command line."""
        command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "criwist"]
        for name, value in self.options.items():
            option = "--" + name.replace("_", "-")
            if value is True:
                command.append(option)
            elif isinstance(value, str):
                command += [option, value]
        return command

    def start(self) -> float:
        """Start it and wait until it answers Version; returns the seconds that took."""
        self.program.command = self.command()
        return self.program.start(lambda: answers_version(self.socket))

    def stop(self) -> int | None:
        """SIGTERM; returns the exit status."""
        return self.program.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.program.kill()

    def log_text(self) -> str:
        """All it has logged, over all its starts."""
        return self.program.log_text()
