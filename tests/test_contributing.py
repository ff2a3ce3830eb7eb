"""CONTRIBUTING.md names files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_files_exist() -> None:
    """Every path in CONTRIBUTING is a file or a directory; a pattern matches at least one file."""
    paths = {path for path in re.findall(r"`([\w./*-]+)`", TEXT) if path.startswith(("criwist/", "tests/", "docs/"))}
    assert paths
    assert not [path for path in sorted(paths) if not list(ROOT.glob(path.rstrip("/")))]


def test_names_exist() -> None:
    """Every test and every table that CONTRIBUTING names is defined somewhere."""
    names = set(re.findall(r"`(test_\w+|_?[A-Z]+_[A-Z_]+|[A-Z]{4,}|_RULES)`", TEXT)) - {"YOUR_DIFFERENCE"}
    assert names
    sources = [path.read_text(encoding="utf-8") for top in ("criwist", "tests") for path in (ROOT / top).rglob("*.py")]
    assert not [
        name for name in sorted(names) if not any(re.search(rf"^\s*(def )?{name}\b", text, re.M) for text in sources)
    ]
