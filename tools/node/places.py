"""Where things lie, and the error that has a sentence for the user."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Images, packages, wheels and the logs of the last run; git ignores it.
CACHE = ROOT / ".cache" / "node"
#: The version that Debian 13 has.
PYTHON = "3.13"
#: What the last machine wrote, and what was brought back from it.
RUN = CACHE / "run"


class Trouble(Exception):
    """Something the user has to see to; the text says what."""
