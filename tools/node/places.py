"""Directories of the node, and the error for its user."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Images, packages, wheels and the logs of the last run; git ignores it.
CACHE = ROOT / ".cache" / "node"
#: The version that Debian 13 has.
PYTHON = "3.13"
#: Output of the last machine, and files fetched from it.
RUN = CACHE / "run"


class Trouble(Exception):
    """A problem that the user has to solve; the text names it."""
