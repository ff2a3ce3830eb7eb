"""Debian's docker-registry on a loopback port, open or with a password."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

from tests.harness.programs import Program

USER = "user"
PASSWORD = "password"
#: ``htpasswd -nbB user password``; a registry reads bcrypt only.
_HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu\n"


class Registry:
    """A registry that keeps its blobs under *root*.  ``host`` is the first part of its images' references."""

    def __init__(self, root: Path, *, private: bool = False) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.private = private
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        configuration = root / "registry.yml"
        configuration.write_text(_configuration(root, self.host, private=private))
        self.program = Program("docker-registry", ["docker-registry", "serve", str(configuration)], root / "log")

    @property
    def user(self) -> str:
        """Who may push and pull; ``""``: anybody."""
        return USER if self.private else ""

    @property
    def password(self) -> str:
        """The user's password."""
        return PASSWORD if self.private else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.program.start(self._answers)

    def stop(self) -> None:
        """End it."""
        self.program.stop(within=5)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/v2/", timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False


def _configuration(root: Path, host: str, *, private: bool) -> str:
    text = f"""\
version: 0.1
log:
  level: info
storage:
  delete: {{enabled: true}}
  filesystem: {{rootdirectory: {root}/blobs}}
http:
  addr: {host}
"""
    if private:
        passwords = root / "htpasswd"
        passwords.write_text(_HTPASSWD)
        text += f"auth:\n  htpasswd: {{realm: criwist-tests, path: {passwords}}}\n"
    return text


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
