"""What is carried into the node: criwist and all it needs as wheels, and what its tests need beside that, unpacked.

All of it is for the node's Python, and so is the bytecode that goes with it.  The node cannot reach a package index.
Dependencies are fetched again when the lists of them change; criwist's own wheel is made of the working tree each time.
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

#: What conftest files and functional tests import beside criwist's own dependencies, and what two of them do.
_FOR_TESTS = ("pytest>=7.4", "hypothesis>=6")
_FOR_CLIENTS = ("kubernetes", "PyYAML>=6.0")
_CLIENTS = ("test_streaming_clients.py", "test_demo.py")

#: What the tests in the node read of the repository.  Not criwist itself: that is tested as it is installed.
TREE = ("tests", "bench", "tools", "scripts", "etc", "docs", "pyproject.toml", "setup.cfg", "Makefile")


def wheels() -> Path:
    """A directory with criwist's wheel of the working tree and those of all dependencies."""
    directory = _fetched("wheels", "download", "--dest", _requirements())
    for old in directory.glob("criwist-*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        # Built outside the tree: setuptools packs what an earlier build has left in it.
        for name in tree():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--wheel-dir", str(directory), scratch]
        subprocess.run([sys.executable, *command], check=True)
    return directory


def installed(directory: Path, image: Image) -> Path:
    """A directory like the one that the wheels in *directory* are installed into, with bytecode."""
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
    """Directories to import from what tests at these paths need, with what that needs in turn, and bytecode."""
    found = [_fetched("for-tests", "install", "--target", _FOR_TESTS, image)]
    files = [path.partition("::")[0] for path in paths]
    if any(file.endswith(_CLIENTS) or not file.endswith(".py") for file in files):
        found.append(_fetched("for-clients", "install", "--target", _FOR_CLIENTS, image))
    return found


def tree(*parts: str) -> list[str]:
    """The repository's files as they are now, those git does not know yet included; only *parts* of it if given."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *parts]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _fetched(name: str, command: str, option: str, requirements: Sequence[str], image: Image | None = None) -> Path:
    """What a command of pip puts into a directory for these requirements and the node's Python, once.

    With an *image*, its Python compiles what is there.
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
    """criwist's install_requires."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return settings["options"]["install_requires"].split()
