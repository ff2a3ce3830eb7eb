"""The images tests run, made from the machine's static busybox; no registry is needed to have them.

All share one layer and differ in their configuration.  The references have a registry host, so that every runtime
leaves them as they are.
"""

from __future__ import annotations

import base64
import functools
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from criwist.pause.archive import Entry, Image
from tests.harness.engine import Engine

BUSYBOX = "criwist.test/busybox:1"
#: ``USER 1003:users``: a number and a name.
USER_NUMBER = "criwist.test/user-number:1"
#: ``USER alice``: uid 1003, gid 100, and member of ``extra``, gid 2000.
USER_NAME = "criwist.test/user-name:1"
#: An entrypoint that writes ``entrypoint`` and its arguments to /out/words; ``CMD ["command"]``, ``WORKDIR /work``,
#: ``ENV FROM_IMAGE=yes``.
ENTRYPOINT = "criwist.test/entrypoint:1"
#: ``STOPSIGNAL SIGUSR1``.
STOP_SIGNAL = "criwist.test/stop-signal:1"
#: ``VOLUME /data``, with a file there.
VOLUME = "criwist.test/volume:1"

_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    BUSYBOX: {"Cmd": ["sh"]},
    USER_NUMBER: {"Cmd": ["sh"], "User": "1003:users"},
    USER_NAME: {"Cmd": ["sh"], "User": "alice"},
    ENTRYPOINT: {
        "Entrypoint": ["/bin/sh", "-c", 'echo "$0 $*" > /out/words', "entrypoint"],
        "Cmd": ["command"],
        "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
        "WorkingDir": "/work",
    },
    STOP_SIGNAL: {"Cmd": ["sh"], "StopSignal": "SIGUSR1"},
    VOLUME: {"Cmd": ["sh"], "Volumes": {"/data": {}}},
}
REFERENCES = tuple(_CONFIGURATIONS)

_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
alice:x:1003:100:alice:/home/alice:/bin/sh
bob:x:1004:1004:bob:/home/bob:/bin/sh
"""
_GROUP = """\
root:x:0:
users:x:100:
bob:x:1004:
extra:x:2000:alice
"""


def architecture() -> str:
    """Go's name of this machine's architecture."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def image(reference: str) -> Image:
    """One of the images above."""
    return Image(busybox_files(), architecture(), _CONFIGURATIONS[reference])


def variant(marker: str, *, labels: Mapping[str, str] = MappingProxyType({})) -> Image:
    """An image that no other test has: its id depends on *marker*."""
    return Image(busybox_files(), architecture(), {"Cmd": ["sh"], "Labels": {"marker": marker, **labels}})


@functools.cache
def busybox_files() -> tuple[Entry, ...]:
    """A root file system with every applet of busybox, some users and groups, and a few files to look at."""
    busybox = Path("/bin/busybox")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True, timeout=30)
    entries = [Entry("bin/busybox", busybox.read_bytes(), mode=0o755)]
    entries += [Entry(f"bin/{name}", link="/bin/busybox") for name in applets.stdout.split() if name != "busybox"]
    entries += [
        Entry(name, mode=0o755, directory=True)
        for name in (
            "bin",
            "data",
            "dev",
            "etc",
            "home",
            "home/bob",
            "out",
            "proc",
            "root",
            "run",
            "sys",
            "var",
            "work",
        )
    ]
    entries += [
        Entry("etc/passwd", _PASSWD.encode()),
        Entry("etc/group", _GROUP.encode()),
        Entry("data/file", b"from the image\n"),
        Entry("home/alice", mode=0o755, uid=1003, gid=100, directory=True),
        Entry("tmp", mode=0o1777, directory=True),
    ]
    return tuple(entries)


def load(engine: Engine, archive: bytes) -> None:
    """``docker load``."""
    engine.request("POST", "/images/load?quiet=1", archive, timeout=120)


def load_all(engine: Engine) -> None:
    """Make every image above exist in the engine."""
    for reference in REFERENCES:
        load(engine, image(reference).archive(reference))


def push(engine: Engine, local: str, remote: str, *, user: str = "", password: str = "") -> str:
    """Push the engine's image *local* as *remote*, and forget the remote name; returns the digest it has there."""
    repository, _, tag = remote.rpartition(":")
    engine.post(f"/images/{local}/tag", repo=repository, tag=tag)
    auth = base64.urlsafe_b64encode(json.dumps({"username": user, "password": password}).encode()).decode()
    path = f"/images/{repository}/push?tag={tag}"
    answer = engine.request("POST", path, {}, headers={"X-Registry-Auth": auth}, timeout=120)
    messages = [json.loads(line) for line in answer.decode().splitlines()]
    for message in messages:
        if "error" in message:
            raise RuntimeError(f"push of {remote}: {message['error']}")
    told = [message["aux"]["Digest"] for message in messages if "Digest" in message.get("aux", {})]
    # With the containerd image store the digest is not told, but it is known without asking.
    known = engine.get(f"/images/{remote}/json").get("Descriptor", {}).get("digest", "")
    engine.delete(f"/images/{remote}")
    return str(told[-1] if told else known)
