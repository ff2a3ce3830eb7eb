"""Run criwist in the foreground on the engine of this machine: ``make run`` and ``make demo``.

    python tools/run.py [OPTION…]          options are criwist's
    python tools/run.py --demo POD.yaml    run a manifest on a running criwist, or start one for it

The engine is the one that answers at DOCKER_HOST or /var/run/docker.sock.  If none answers, and DOCKER_HOST is not set,
this program installs Debian's and starts it: by systemd where that runs, else as a child that ends with this program.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOCKET = "/run/criwist.sock"
DOCKER_SOCKET = "unix:///var/run/docker.sock"
ENGINE_LOG = Path("/var/log/criwist-dockerd.log")
CRIWIST_LOG = Path("/var/log/criwist-demo.log")

#: A first start makes the engine's directories and firewall rules; a slow machine takes its time.
_START_LIMIT = 120.0


#: twistd shuts down in order and then ends by the signal that it received.
_ASKED_TO_END = (-signal.SIGINT, -signal.SIGTERM)


class Trouble(Exception):
    """A problem that the user has to solve; the text names it."""


def engine_answers(endpoint: str) -> bool:
    """Return whether a Docker engine answers; with TLS, an accepted connection is enough."""
    address = urllib.parse.urlsplit(endpoint)
    try:
        if address.scheme == "unix":
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(5)
            connected.connect(address.path)
        else:
            connected = socket.create_connection((address.hostname, address.port or 2375), timeout=5)
        if os.environ.get("DOCKER_TLS_VERIFY"):
            connected.close()
            return True
        connection = http.client.HTTPConnection("docker")
        connection.sock = connected
        with contextlib.closing(connection):
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Start an engine if none answers.  An engine started as a child is stopped at the end of the context."""
    named = os.environ.get("DOCKER_HOST", "")
    if engine_answers(named or DOCKER_SOCKET):
        yield
        return
    if named:
        raise Trouble(f"no Docker engine answers at DOCKER_HOST={named}")
    if os.geteuid() != 0:
        raise Trouble(f"no Docker engine answers at {DOCKER_SOCKET}; run this command as root to install and start one")
    subprocess.run([ROOT / "scripts" / "packages.sh", "engine"], check=True)
    if engine_answers(DOCKER_SOCKET):  # the installation has started it
        yield
    elif Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker.service"], check=True)
        _wait_for(lambda: engine_answers(DOCKER_SOCKET), "the Docker engine, see: journalctl -u docker")
        yield
    else:
        print(f"starting a Docker engine, its log is {ENGINE_LOG}", flush=True)
        with _child(["dockerd", f"--host={DOCKER_SOCKET}"], ENGINE_LOG) as dockerd:
            _wait_for(lambda: engine_answers(DOCKER_SOCKET), f"the Docker engine, see {ENGINE_LOG}", dockerd)
            yield


@contextlib.contextmanager
def _child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that logs to a file, and end it with the context.  Ctrl-C at the terminal does not reach it."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()


def _wait_for(ready: Callable[[], bool], what: str, program: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not ready():
        if program is not None and program.poll() is not None:
            raise Trouble(f"did not start, but ended with status {program.returncode}: {what}")
        if time.monotonic() > deadline:
            raise Trouble(f"did not start within {_START_LIMIT:g} s: {what}")
        time.sleep(0.1)


def criwist_command(options: Sequence[str]) -> list[str]:
    """Return criwist's command line.  Without ``--network-plugin`` it uses Docker's bridge, which needs no set-up."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    plugin = [] if any(option.startswith("--network-plugin") for option in options) else ["--network-plugin", "bridge"]
    return [twistd, "--nodaemon", "--pidfile=", "criwist", *plugin, *options]


def run(options: Sequence[str]) -> int:
    """Run criwist in the foreground until it ends, and return its exit status."""
    with engine():
        # Ctrl-C reaches criwist as well; this program waits until criwist has ended.
        criwist = subprocess.Popen(criwist_command(options), cwd=ROOT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: criwist.terminate())
        status = criwist.wait()
        return 0 if status in _ASKED_TO_END else status if status >= 0 else 128 - status


def _serves() -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(SOCKET)
    except OSError:
        return False
    return True


def demo(manifest: str) -> int:
    """Run a manifest, and return the demo's exit status."""
    command = [sys.executable, "-m", "criwist.demo", "--endpoint", f"unix://{SOCKET}", "--load-busybox", manifest]
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine())
        if not _serves():
            print(f"starting criwist for this demo, its log is {CRIWIST_LOG}", flush=True)
            criwist = stack.enter_context(_child(criwist_command([]), CRIWIST_LOG))
            _wait_for(_serves, f"criwist, see {CRIWIST_LOG}", criwist)
        return subprocess.run(command, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    if shutil.which("twistd", path=str(Path(sys.executable).parent)) is None:
        raise Trouble(f"criwist is not installed for {sys.executable}; use make")
    if arguments[:1] == ["--demo"] and len(arguments) == 2:
        return demo(arguments[1])
    return run(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(f"criwist: {trouble}")
    except subprocess.CalledProcessError as error:  # the program has printed the reason
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
