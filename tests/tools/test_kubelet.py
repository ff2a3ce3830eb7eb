"""The pinned kubelet for the tests: ``tools.kubelet``."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from tools import kubelet
from tools.debian import Package, Replaced, architecture, read_lock

LOCK = read_lock(kubelet.LOCK.read_text())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(kubelet, "CACHE", tmp_path)
    return tmp_path


def test_the_lock_pins_source_and_compiler() -> None:
    """The source is pinned once, and both of the compiler's packages for each architecture."""
    assert [each.name for each in LOCK if each.architecture == "source"] == ["kubernetes"]
    for name in {each.architecture for each in LOCK} - {"source"}:
        assert {each.name for each in LOCK if each.architecture == name} == {"golang-1.15-go", "golang-1.15-src"}
    assert all(each.version and re.fullmatch(r"[0-9a-f]{64}", each.sha256) for each in LOCK)


def test_other_pins_are_another_program(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program built by other pins lies elsewhere, so that an old one is never taken for a new one."""
    before = kubelet.program()
    package = Package("kubelet", architecture(), "golang-1.15-go", "99", "0" * 64)
    monkeypatch.setattr(kubelet, "pinned", lambda: (package,))
    assert kubelet.program() != before


def test_a_replaced_package(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If the archive has replaced a package, one line names what is left out; the reason is kept until it is built."""

    def gone() -> None:
        raise Replaced("Debian's bullseye has no golang-1.15-go any more")

    monkeypatch.setattr(kubelet, "_build", gone)
    kubelet.build()
    assert capsys.readouterr().out.splitlines() == [
        "kubelet: Debian's bullseye has no golang-1.15-go any more; tests with a real kubelet are left out"
    ]
    assert (kubelet.built(), kubelet.replaced()) == (False, "Debian's bullseye has no golang-1.15-go any more")
    monkeypatch.setattr(kubelet, "_build", lambda: kubelet.program().touch())
    kubelet.build()
    assert (kubelet.built(), kubelet.replaced()) == (True, "")


def test_calls_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several calls at the same time one builds, and the others return when it has."""
    begun, go_on, builds = threading.Event(), threading.Event(), []

    def build() -> None:
        builds.append(1)
        begun.set()
        go_on.wait()
        kubelet.program().touch()

    monkeypatch.setattr(kubelet, "_build", build)
    threads = [threading.Thread(target=kubelet.build) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    go_on.set()
    for thread in threads:
        thread.join()
    assert builds == [1]
