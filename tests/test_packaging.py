"""The wheel that users install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_IGNORED = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the files in the wheel.  It is built in a copy, because building leaves files behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("criwist", "twisted"):
        shutil.copytree(ROOT / name, copy / name, ignore=_IGNORED)
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run([*command, "--wheel-dir", str(built), str(copy)], check=True)
    (path,) = built.glob("criwist-*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_wheel_has_the_plugin(wheel: set[str]) -> None:
    """The wheel holds the plugin's file, and does not make ``twisted`` or ``twisted.plugins`` a package."""
    assert "twisted/plugins/criwist_plugin.py" in wheel
    assert "twisted/__init__.py" not in wheel
    assert "twisted/plugins/__init__.py" not in wheel


def test_wheel_has_the_generated_modules(wheel: set[str]) -> None:
    """The wheel holds the modules generated from the CRI's .proto under their documented names."""
    assert {"criwist/api/runtime/v1/api_pb2.py", "criwist/api/runtime/v1/api_pb2_grpc.py"} <= wheel


def test_wheel_has_every_file_of_the_package(wheel: set[str]) -> None:
    """The wheel holds every file below criwist/: pause programs, the .proto, dictionaries, py.typed."""
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "criwist").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= wheel, sorted(files - wheel)


def test_wheel_has_nothing_else(wheel: set[str]) -> None:
    """The wheel holds no tests, tools or benchmarks."""
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"criwist", "twisted"}


def test_wheel_has_the_licence(wheel: set[str]) -> None:
    """The wheel holds the text of the licence, among its metadata."""
    assert [name for name in wheel if name.partition(".dist-info/")[2].endswith("LICENSE")]
