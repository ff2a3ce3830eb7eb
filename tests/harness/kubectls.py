"""The kubectls of this machine: the newest, the oldest, and those between.

Debian's is a single old one, fetched into ``.cache/kubectl`` by ``scripts/kubectl.sh`` since its package cannot be
installed beside others.  ``CRIWIST_TEST_KUBECTLS`` names others, parted by colons.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from tests.harness.clock import scaled

_REPOSITORY = Path(__file__).resolve().parents[2]
_USUAL = ("/usr/lib/google-cloud-sdk/bin", "/usr/local/bin", "/usr/bin")


@frozen(order=True)
class Kubectl:
    """One kubectl."""

    #: ``(1, 32)``
    version: tuple[int, int]
    path: Path

    @property
    def name(self) -> str:
        """``1.32``"""
        return ".".join(map(str, self.version))


@functools.cache
def kubectls() -> tuple[Kubectl, ...]:
    """All of them, each minor version once, oldest first."""
    named = os.environ.get("CRIWIST_TEST_KUBECTLS")
    if named:
        candidates = [Path(one) for one in named.split(":")]
    else:
        candidates = [_REPOSITORY / ".cache/kubectl/usr/bin/kubectl"]
        for directory in map(Path, _USUAL):
            candidates += sorted(directory.glob("kubectl.1.*"))
        candidates += [Path(found)] if (found := shutil.which("kubectl")) else []
    found_versions: dict[tuple[int, int], Kubectl] = {}
    for path in candidates:
        version = _version(path)
        if version is not None:
            found_versions.setdefault(version, Kubectl(version, path))
    return tuple(sorted(found_versions.values()))


def _version(path: Path) -> tuple[int, int] | None:
    try:
        run = subprocess.run(
            [path, "version", "--client", "--output=json"], capture_output=True, timeout=scaled(20), check=True
        )
        client = json.loads(run.stdout)["clientVersion"]
        return int(client["major"]), int(client["minor"].rstrip("+"))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
