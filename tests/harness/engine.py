"""A Docker Engine for the tests alone: dockerd with directories, socket and bridge of its own.

The engine starts containerd itself.  Several engines can run side by side, as each makes its own bridge and subnet.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.harness.clock import scaled
from tests.harness.leftovers import cgroup_parent, unmount_below
from tests.harness.programs import Program

_IMPATIENT = "timeout waiting for containerd to start"


class EngineError(Exception):
    """The engine answered with an error status; ``status`` is the number."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """A dockerd and what it keeps under *root*.  *number* tells apart the engines of one session.

    :param flags: more flags for dockerd.
    :param live_restore: whether containers outlive a restart of the engine.
    :param bridge: whether pods can have Docker's bridge; without, only the networks ``host`` and ``none`` exist.
    :param configuration: more of daemon.json.
    :param programs: where dockerd and containerd lie, if they are not the machine's own.
    """

    def __init__(
        self,
        root: Path,
        *,
        number: int = 0,
        flags: Sequence[str] = (),
        live_restore: bool = False,
        bridge: bool = True,
        systemd_cgroups: bool = False,
        configuration: Mapping[str, Any] | None = None,
        programs: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.root = root
        self.socket = root / "docker.sock"
        self.bridge = f"crwt{number}" if bridge else ""
        self.subnet = f"10.98.{number}"
        file = root / "daemon.json"
        file.write_text(json.dumps({"live-restore": live_restore, **(configuration or {})}))
        if programs is not None:
            environment = {"PATH": f"{programs}:{os.environ['PATH']}", **(environment or {})}
        command = ["dockerd", f"--config-file={file}", f"--data-root={root}/data", f"--exec-root={root}/exec"]
        command += [f"--host=unix://{self.socket}", f"--pidfile={root}/pid", f"--bridge={self.bridge or 'none'}"]
        command.append(f"--cgroup-parent={cgroup_parent(root.parent.name, systemd=systemd_cgroups)}")
        if systemd_cgroups:
            command.append("--exec-opt=native.cgroupdriver=systemd")
        self.program = Program("dockerd", [*command, *flags], root / "dockerd.log", environment=environment)

    @property
    def endpoint(self) -> str:
        """The address as ``--docker-endpoint`` and DOCKER_HOST spell it."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers.

        dockerd gives its containerd 15 seconds, on an emulated machine too, where only a second start is so fast.
        """
        if self.bridge and not Path("/sys/class/net", self.bridge).exists():
            subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=False, capture_output=True)
            _ip("addr", "replace", f"{self.subnet}.1/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
        for last in (False, False, False, True):
            began = len(self.program.log_text())
            try:
                self.program.start(self.answers, within=60)
            except RuntimeError:
                if last or _IMPATIENT not in self.program.log_text()[began:]:
                    raise
            else:
                return

    def answers(self) -> bool:
        """Whether it answers a ping now."""
        try:
            return self.request("GET", "/_ping", timeout=2) == b"OK"
        except (OSError, http.client.HTTPException, EngineError):
            return False

    def stop(self) -> None:
        """End it as a service manager would; without live-restore its containers end too."""
        self.program.stop(within=60)

    def kill(self) -> None:
        """SIGKILL the engine, with which its containerd dies; the containers stay."""
        self.program.kill()
        # Where the machine's init is slow to collect the dead, the next engine would take this one for alive.
        (self.root / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def destroy(self) -> None:
        """Remove every container, end the engine and remove all that it kept.  Repeatable."""
        if not self.root.exists():
            return
        with contextlib.suppress(OSError, http.client.HTTPException, EngineError, RuntimeError):
            if not self.answers():
                self.start()
            self.remove_containers()
        self.stop()
        if self.bridge:
            subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
        unmount_below(self.root)
        shutil.rmtree(self.root, ignore_errors=True)

    def remove_containers(self) -> None:
        """Remove every container, running or not."""
        for container in self.get("/containers/json?all=1"):
            with contextlib.suppress(EngineError):
                self.request("DELETE", f"/containers/{container['Id']}?force=1&v=1", timeout=60)

    # -- the HTTP API

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> bytes:
        """One call of the Engine API; the body of a 2xx or 304 answer, else EngineError."""
        connection = _UnixConnection(str(self.socket), scaled(timeout))
        try:
            sent = dict(headers or {})
            data: bytes | None
            if isinstance(body, bytes) or body is None:
                data = body
                sent.setdefault("Content-Type", "application/x-tar")
            else:
                data = json.dumps(body).encode()
                sent["Content-Type"] = "application/json"
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise EngineError(response.status, answer.decode(errors="replace").strip())
        return answer

    def get(self, path: str, **query: str) -> Any:
        """GET and decode the JSON answer."""
        return json.loads(self.request("GET", _with_query(path, query)))

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
        """POST; the decoded JSON answer, or None where there is none."""
        answer = self.request("POST", _with_query(path, query), body if body is not None else {})
        return json.loads(answer) if answer.strip() else None

    def delete(self, path: str, **query: str) -> Any:
        """DELETE; the decoded JSON answer, or None where there is none."""
        answer = self.request("DELETE", _with_query(path, query))
        return json.loads(answer) if answer.strip() else None

    def inspect(self, container: str) -> Any:
        """A container as the engine sees it."""
        return self.get(f"/containers/{container}/json")

    def container_names(self) -> list[str]:
        """Names of all containers, without slash."""
        return sorted(item["Names"][0].lstrip("/") for item in self.get("/containers/json?all=1"))

    def events(self, *, since: float, until: float | None = None) -> list[Any]:
        """Events between two times in seconds since the epoch; *until* defaults to now."""
        text = self.request("GET", f"/events?since={since:.9f}&until={(until or time.time()):.9f}").decode()
        return [json.loads(line) for line in text.splitlines()]

    # -- the command line client, for those who have it

    @staticmethod
    def client() -> str | None:
        """Path of a docker command, None if there is none."""
        return shutil.which("docker")

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the docker command on this engine; RuntimeError with its words if *check* and it fails."""
        client = self.client()
        if client is None:
            raise RuntimeError("there is no docker command here")
        run = subprocess.run(
            [client, "--host", self.endpoint, *arguments], capture_output=True, text=True, timeout=scaled(60)
        )
        if check and run.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: {run.stderr.strip()}")
        return run


def _with_query(path: str, query: Mapping[str, str]) -> str:
    return path + ("?" + urllib.parse.urlencode(query) if query else "")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=scaled(10))
