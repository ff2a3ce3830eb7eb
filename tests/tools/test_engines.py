"""Pinned engines for the tests: ``tools.engines``."""

from __future__ import annotations

import re

import pytest

from tools import engines
from tools.debian import Package, read_lock

LOCK = read_lock(engines.LOCK.read_text())


def test_the_lock_pins_every_bundle() -> None:
    """Each bundle has its packages in the lock, by a version and a SHA-256 sum."""
    for name, bundle in engines.BUNDLES.items():
        pinned = {each.name for each in LOCK if each.bundle == name}
        assert set(bundle.packages) <= pinned
    assert all(each.version and re.fullmatch(r"[0-9a-f]{64}", each.sha256) for each in LOCK)
    assert {each.bundle for each in LOCK} == set(engines.BUNDLES)


def test_a_lock_is_read_as_it_is_written() -> None:
    """A package's line is read back; comments and empty lines are skipped."""
    package = Package("docker-28", "amd64", "docker.io", "28.5.2+dfsg4-5", "0" * 64)
    assert read_lock(f"# written by a tool\n\n{package}\n") == [package]


def test_other_pins_are_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are fetched by other pins lie elsewhere, so that old ones are never taken for new ones."""
    before = engines.programs("docker-28")
    package = Package("docker-28", "amd64", "docker.io", "99", "0" * 64)
    monkeypatch.setattr(engines, "pinned", lambda bundle: (package,))
    assert engines.programs("docker-28") != before
