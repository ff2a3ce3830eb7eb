"""The image of the example manifests: the machine's static busybox, loaded into the engine without a registry."""

from __future__ import annotations

import http.client
import os
import platform
import socket
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

from criwist.errors import FailedPrecondition, Unavailable
from criwist.pause.archive import Entry, Image

BUSYBOX_REFERENCE = "criwist.example/busybox:1"
BUSYBOX = Path("/bin/busybox")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "var")
#: Small enough to show progress on a slow link, large enough to cost nothing on a socket.
_CHUNK = 256 * 1024


def busybox_image(program: Path = BUSYBOX) -> Image:
    """Return an image of a root file system with all applets of *program*.

    :param program: a statically linked busybox that runs on this machine.
    :raises FailedPrecondition: it does not run.
    """
    try:
        applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedPrecondition(
            f"there is no busybox to build an image of (Debian: busybox-static): {error}"
        ) from error
    entries = [Entry("bin/busybox", program.read_bytes(), mode=0o755)]
    entries += [Entry(f"bin/{name}", link="/bin/busybox") for name in applets.split() if name != "busybox"]
    entries += [Entry(name, mode=0o755, directory=True) for name in _DIRECTORIES]
    entries += [
        Entry("tmp", mode=0o1777, directory=True),
        Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        Entry("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
    ]
    machine = platform.machine()
    return Image(tuple(entries), _ARCHITECTURES.get(machine, machine), {"Cmd": ["sh"]})


def load(archive: bytes, progress: Callable[[int, int], None], docker_endpoint: str = "") -> None:
    """Load *archive* into the engine, as ``docker load`` does; *progress* is called with bytes sent and total bytes.

    :param docker_endpoint: ``unix:///path`` or ``tcp://host:port``; ``""``: DOCKER_HOST, else the usual socket.
    """
    endpoint = docker_endpoint or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(archive), _CHUNK):
            yield archive[start : start + _CHUNK]
            progress(min(start + _CHUNK, len(archive)), len(archive))

    connection = http.client.HTTPConnection("docker")
    try:
        connection.sock = _connect(endpoint)
        headers = {"Content-Type": "application/x-tar", "Content-Length": str(len(archive))}
        connection.request("POST", "/images/load?quiet=1", chunks(), headers)
        response = connection.getresponse()
        answer = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot load an image into the Docker engine at {endpoint}: {error}") from error
    finally:
        connection.close()
    if response.status != 200 or '"error"' in answer:
        raise FailedPrecondition(f"the Docker engine at {endpoint} refuses the image: {answer}")


def _connect(endpoint: str) -> socket.socket:
    address = urllib.parse.urlsplit(endpoint)
    if address.scheme == "unix":
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(address.path)
        return connected
    if address.scheme == "tcp":
        return socket.create_connection((address.hostname or "127.0.0.1", address.port or 2375))
    raise OSError("the address is neither unix:// nor tcp://")
