"""Compile modules for the node on this machine, with the node's own Python.

In emulation, compilation by pip and by the first import takes minutes of each run.  The interpreter is read out of the
image.  Its bytecode is valid whatever times the files have in the node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.node.image import Image
from tools.node.places import PYTHON

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_LOADER = "ld-linux-x86-64.so.2"
#: Libraries of the interpreter; some of the names are links in the image.
_NEEDED = (_LOADER, "libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1")


def compile_below(directory: Path, image: Image) -> None:
    """Write the bytecode of all modules below *directory* beside them."""
    home = _interpreter(image)
    loader, libraries, python = home / "lib" / _LOADER, home / "lib", home / "bin" / f"python{PYTHON}"
    command: list[str | Path] = [loader, "--library-path", libraries, python]
    command += ["-S", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", directory]
    environment = os.environ | {"PYTHONHOME": str(home)}
    # Files that do not compile are never imported: templates, and code for other versions.
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)


def _interpreter(image: Image) -> Path:
    home = image.directory / "python"
    if home.exists():
        return home
    fresh = image.directory / "python.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for name in ("bin", "lib"):
        (fresh / name).mkdir(parents=True)
    _debugfs(image, f"rdump /usr/lib/python{PYTHON} {fresh}/lib")
    _debugfs(image, f"dump /usr/bin/python{PYTHON} {fresh}/bin/python{PYTHON}")
    (fresh / "bin" / f"python{PYTHON}").chmod(0o755)
    for name in _NEEDED:
        _debugfs(image, f"dump {_real(image, name)} {fresh}/lib/{name}")
    (fresh / "lib" / _LOADER).chmod(0o755)
    fresh.rename(home)
    return home


def _real(image: Image, name: str) -> str:
    """Return the path of a library, which may be a link to a file in the same directory."""
    for line in _debugfs(image, f"stat {_LIBRARIES}/{name}").splitlines():
        if line.startswith("Fast link dest:"):
            name = line.split('"')[1]
    return f"{_LIBRARIES}/{name}"


def _debugfs(image: Image, request: str) -> str:
    command = ["debugfs", "-R", request, str(image.disk)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
