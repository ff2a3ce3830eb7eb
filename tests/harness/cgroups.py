"""Searching cgroupfs while other workers' containers come and go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def walk() -> Iterator[tuple[Path, list[str]]]:
    """Yield each cgroup directory and the names of its files.  One that vanishes is skipped; a glob would fail."""
    for directory, _, files in os.walk(_ROOT):
        yield Path(directory), files
