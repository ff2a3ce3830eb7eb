"""The disk image of the node: Debian 13 from Debian's packages alone, built once for each recipe.

debootstrap unpacks the packages into a directory, a few files configure a node, and ``mkfs.ext4 -d`` builds the image
of it, with nothing mounted.  Kernel and initial RAM disk are copied out, because QEMU boots them itself.  The image is
never written to again: every machine runs on a throw-away layer above it.

The packages come from the package source of this machine's apt.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from criwist.kernel.mountinfo import parse_mountinfo
from tools.node import recipe as contents
from tools.node.places import CACHE, ROOT, Trouble

_BUILD_LIMIT = 3600.0


@frozen
class Image:
    """A built image: a disk, its kernel and its initial RAM disk."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The ext4 file system, raw."""
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        """The kernel, as QEMU loads it."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The kernel's initial RAM disk."""
        return self.directory / "initrd.img"

    @property
    def key(self) -> Path:
        """The private ssh key of the node's root."""
        return self.directory / "key"


def image() -> Image:
    """Return the image of the current recipe; build it if there is none.

    :raises Trouble: it cannot be built here.
    """
    found = Image(CACHE / f"image-{recipe()}")
    if not found.disk.exists():
        _build(found)
    return found


def recipe() -> str:
    """Return a hash of the recipe."""
    return hashlib.sha256(Path(contents.__file__).read_bytes()).hexdigest()[:12]


def _build(wanted: Image) -> None:
    if os.geteuid() != 0:
        raise Trouble("debootstrap needs root")
    subprocess.run([ROOT / "scripts" / "packages.sh", "node"], check=True)
    for old in CACHE.glob("image-*"):
        shutil.rmtree(old)
    work = CACHE / "building"
    _clear(work)
    root = work / "root"
    root.mkdir(parents=True)
    try:
        _debootstrap(root)
    except BaseException:
        _clear(work)
        raise
    result = Image(work)
    contents.configure(root, result.key)
    for name, target in (("vmlinuz", result.kernel), ("initrd.img", result.initrd)):
        newest = max((root / "boot").glob(f"{name}-*"))
        shutil.copy(newest, target)
    subprocess.run(["truncate", "--size", contents.SIZE, result.disk], check=True)
    command = ["mkfs.ext4", "-q", "-L", "node", "-m", "0", "-d", str(root), str(result.disk)]
    subprocess.run(command, check=True, timeout=_BUILD_LIMIT)
    shutil.rmtree(root)
    work.rename(wanted.directory)


def _clear(work: Path) -> None:
    """Remove the files of an interrupted build; a killed debootstrap leaves /proc mounted."""
    for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
        if Path(mount.point).is_relative_to(work):
            subprocess.run(["umount", "--lazy", mount.point], check=True)
    shutil.rmtree(work, ignore_errors=True)


def mirror() -> str:
    """Return the URI from which this machine's apt gets Debian's packages.  It is not to be printed or logged.

    :raises Trouble: apt has no lists of Debian's packages.
    """
    template = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", template, "Created-By: Packages"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        origin, label, uri = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise Trouble("apt has no lists of Debian's packages here: apt-get update")


def _debootstrap(root: Path) -> None:
    packages = CACHE / "packages"
    packages.mkdir(exist_ok=True)
    log = CACHE / "debootstrap.log"
    command: Sequence[str | Path] = [
        *("debootstrap", "--variant=minbase", f"--cache-dir={packages}", f"--include={','.join(contents.PACKAGES)}"),
        *(contents.RELEASE, root, mirror()),
    ]
    with log.open("wb") as output:
        run = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=_BUILD_LIMIT)
    if run.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Trouble(f"debootstrap ended with {run.returncode}, see {log}:\n{tail}")
