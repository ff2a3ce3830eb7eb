"""The table of old and new names in docs/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def rows() -> list[tuple[str, list[str]]]:
    """Return the old path of each moved module, and its new paths."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("| was | is | classes and marks |")[2]
    found = re.findall(r"^\| `([\w/]+)` \| ([^|]+) \|", text.partition("\n\n")[0], re.MULTILINE)
    return [(old, re.findall(r"`([\w/]+)`", new)) for old, new in found]


def test_new_names_exist() -> None:
    """Each path in the column of new names is a module or a package."""
    assert rows()
    for old, new in rows():
        assert new, old
        for path in new:
            base = ROOT if path.startswith("tests/") else ROOT / "criwist"
            assert (base / path).is_dir() if path.endswith("/") else (base / f"{path}.py").is_file(), path


def test_old_names_are_gone() -> None:
    """No module is at its old path; a package may have taken the name."""
    for old, _ in rows():
        assert not (ROOT / "criwist" / f"{old}.py").exists(), old


def test_new_classes_exist() -> None:
    """Each new name of a class or a mark is defined in the product."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    new = re.findall(r"`@?\w+` → `@?(\w+)`", text)
    assert new
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "criwist").rglob("*.py"))
    assert set(new) <= set(re.findall(r"\b(?:class|def) (\w+)", sources)), new
