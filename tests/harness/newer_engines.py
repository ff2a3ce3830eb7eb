"""Engines newer than Debian 12's, and their image stores.

``tools/engines.py`` fetches them; the tests' own namespace has no network to do it from.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import frozen

from tools.engines import fetched, programs, replaced


@frozen
class NewerEngine:
    """A newer engine: a bundle of programs, and what its configuration has beside that of all engines here."""

    bundle: str
    configuration: dict[str, Any]

    @property
    def programs(self) -> Path:
        """Where its programs lie; RuntimeError if they have not been fetched."""
        if not fetched(self.bundle):
            raise RuntimeError(f"{self.bundle} has not been fetched: make engines")
        return programs(self.bundle)


_GRAPH_DRIVER = {"features": {"cdi": True, "containerd-snapshotter": False}}
_CONTAINERD_STORE = {"features": {"cdi": True, "containerd-snapshotter": True}}

#: Engines by the name that tests have them by.  API 1.45, the same with images in containerd, 1.51, and so again.
NEWER_ENGINES = {
    "docker-26": NewerEngine("docker-26", _GRAPH_DRIVER),
    "docker-26-containerd": NewerEngine("docker-26", _CONTAINERD_STORE),
    "docker-28": NewerEngine("docker-28", _GRAPH_DRIVER),
    "docker-28-containerd": NewerEngine("docker-28", _CONTAINERD_STORE),
}

#: The name that all of them have an OCI runtime under that is runc, but does not say what it can do.
MUTE = "mute"
_MUTE_PROGRAM = """\
#!/bin/sh
case " $* " in *" features "*) exit 1 ;; esac
exec runc "$@"
"""


def arguments_of(name: str, directory: Path) -> dict[str, Any]:
    """Arguments of ``Engine`` that make it one of the newer ones; *directory* is for its second runtime."""
    kind = NEWER_ENGINES[name]
    program = directory / "mute-runc"
    program.write_text(_MUTE_PROGRAM)
    program.chmod(0o755)
    runtimes = {"runtimes": {MUTE: {"path": str(program)}}}
    return {"programs": kind.programs, "configuration": kind.configuration | runtimes}


@frozen
class Obstacle:
    """Why tests that need a bundle of programs cannot run here."""

    reason: str
    #: Whether the tests are left out even where all tests must run: the archive has replaced the programs.
    final: bool


def obstacle(bundle: str) -> Obstacle | None:
    """Return why tests that need a bundle cannot run here; None if they can."""
    if fetched(bundle):
        return None
    if reason := replaced(bundle):
        return Obstacle(reason, final=True)
    return Obstacle(f"{bundle} has not been fetched: make engines", final=False)


def on_a_node() -> bool:
    """Whether this is the whole node, which cannot fetch them, and whose own engine is as new as the first of them."""
    return os.environ.get("CRIWIST_TEST_NODE") == "1"
