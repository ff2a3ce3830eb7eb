"""What is carried into the node: criwist and all it needs as wheels, and unpacked what its tests need beside that.

All of it is for the node's Python.  The node cannot reach a package index.  Dependencies are fetched again when the
lists of them change; criwist's own wheel is made of the working tree each time.
"""

from __future__ import annotations

import configparser
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.node.places import CACHE, ROOT

#: Debian 13's.
PYTHON = "3.13"
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")

#: What conftest files and functional tests import beside criwist's own dependencies.
FOR_TESTS = ("pytest>=7.4", "hypothesis>=6", "kubernetes")

#: What the tests in the node read of the repository.  Not criwist itself: that is tested as it is installed.
TREE = ("tests", "bench", "tools", "scripts", "etc", "docs", "pyproject.toml", "setup.cfg", "Makefile")


def wheels() -> Path:
    """A directory with criwist's wheel of the working tree and those of all dependencies."""
    directory = _dependencies()
    for old in directory.glob("criwist-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        # Built outside the tree: setuptools packs what an earlier build has left in it.
        for name in tree():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory), scratch]
        subprocess.run([sys.executable, *command], check=True)
    return directory


def tree(*parts: str) -> list[str]:
    """The repository's files as they are now, those git does not know yet included; only *parts* of it if given."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *parts]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _dependencies() -> Path:
    return _fetched("wheels", "download", "--dest", _requirements())


def for_tests() -> Path:
    """A directory to import from what the tests need, with what that needs in turn."""
    return _fetched("for-tests", "install", "--target", FOR_TESTS)


def _fetched(name: str, command: str, option: str, requirements: Sequence[str]) -> Path:
    """What a command of pip puts into a directory for these requirements and the node's Python, once."""
    wanted = repr((PYTHON, _PLATFORMS, sorted(requirements))).encode()
    directory = CACHE / f"{name}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if directory.exists():
        return directory
    for old in CACHE.glob(f"{name}-*"):
        shutil.rmtree(old)
    fetched = CACHE / "fetching"
    shutil.rmtree(fetched, ignore_errors=True)
    words = ["--quiet", "--only-binary=:all:", f"--python-version={PYTHON}", option, str(fetched)]
    words += [f"--platform={platform}" for platform in _PLATFORMS]
    if command == "install":
        words.append("--no-compile")
    subprocess.run([sys.executable, "-m", "pip", command, *words, *requirements], check=True)
    fetched.rename(directory)
    return directory


def _requirements() -> list[str]:
    """criwist's install_requires."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return settings["options"]["install_requires"].split()
