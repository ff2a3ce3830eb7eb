"""Packages for the node: criwist and its dependencies as wheels, and the further needs of its tests, unpacked.

They and their bytecode are for the node's Python.  The node cannot reach a package index.  Dependencies are fetched
again when their lists change; criwist's own wheel is built of the working tree each time.
"""

from __future__ import annotations

import configparser
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.node.bytecode import compile_below
from tools.node.image import Image
from tools.node.places import CACHE, PYTHON, ROOT

_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")

#: Packages that conftest files and functional tests import beside criwist's own dependencies; two tests need more.
_FOR_TESTS = ("pytest>=7.4", "hypothesis>=6")
_FOR_CLIENTS = ("kubernetes", "PyYAML>=6.0")
_CLIENTS = ("test_streaming_clients.py", "test_demo.py")

#: Parts of the repository that the tests in the node read.  Not criwist itself: the installed one is tested.
TREE = ("tests", "bench", "tools", "scripts", "etc", "docs", "pyproject.toml", "setup.cfg", "Makefile")


def wheels() -> Path:
    """Return a directory with criwist's wheel of the working tree and those of all dependencies."""
    directory = _fetched("wheels", "download", "--dest", _requirements())
    for old in directory.glob("criwist-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        # Built outside the tree: setuptools would pack files that an earlier build left in it.
        for name in tree():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--wheel-dir", str(directory), scratch]
        subprocess.run([sys.executable, *command], check=True)
    return directory


def installed(directory: Path, image: Image) -> Path:
    """Return a copy of the node's site-packages with the wheels in *directory* installed, with bytecode."""
    site = _fetched("site", "install", "--target", _requirements(), image)
    with tempfile.TemporaryDirectory() as scratch:
        (wheel,) = directory.glob("criwist-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch)
        compile_below(Path(scratch), image)
        shutil.rmtree(site / "criwist", ignore_errors=True)
        shutil.copytree(scratch, site, dirs_exist_ok=True)
    return site


def for_tests(image: Image, paths: Iterable[str]) -> list[Path]:
    """Return directories with the packages that tests at these paths import, their dependencies, and bytecode."""
    found = [_fetched("for-tests", "install", "--target", _FOR_TESTS, image)]
    files = [path.partition("::")[0] for path in paths]
    if any(file.endswith(_CLIENTS) or not file.endswith(".py") for file in files):
        found.append(_fetched("for-clients", "install", "--target", _FOR_CLIENTS, image))
    return found


def tree(*parts: str) -> list[str]:
    """Return the names of the repository's files in the working tree, untracked ones too; only *parts* if given."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *parts]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _fetched(name: str, command: str, option: str, requirements: Sequence[str], image: Image | None = None) -> Path:
    """Return the directory that a command of pip fills for these requirements and the node's Python; it runs once.

    With an *image*, the image's Python compiles the modules.
    """
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
    subprocess.run([sys.executable, "-m", "pip", command, *words, *requirements], check=True)
    if image is not None:
        compile_below(fetched, image)
    fetched.rename(directory)
    return directory


def _requirements() -> list[str]:
    """Return criwist's install_requires."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return settings["options"]["install_requires"].split()
