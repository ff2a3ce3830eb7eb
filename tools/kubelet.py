"""A kubelet for the tests, built once from Debian's source of Kubernetes.

    python -m tools.kubelet            build it if it is missing
    python -m tools.kubelet --update   pin today's versions, then build it

Debian has no package of kubelet, but the source of its ``kubernetes-client`` is all of Kubernetes 1.20 with the modules
that it is built from.  The compiler is Debian 11's Go 1.15, unpacked and not installed.  The build takes some minutes
on two processors, needs no network once the packages are there, and leaves one program in ``.cache/kubelet``.

``kubelet.lock`` beside this file pins the packages.  Once Debian has replaced or removed one of them, one line names
what is left out, see :func:`replaced`; anything else that fails is an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.debian import SOURCE, Apt, Package, Replaced, architecture, read_lock, run, write_lock
from tools.node.places import ROOT, Trouble

CACHE = ROOT / ".cache" / "kubelet"
LOCK = Path(__file__).with_name("kubelet.lock")

_BUNDLE = "kubelet"
#: The source package, and the Debian release that it is taken from.
_KUBERNETES, _SOURCE_RELEASE = "kubernetes", "bookworm"
#: The compiler's packages, and the Debian release that they are taken from.
_GO, _GO_RELEASE = ("golang-1.15-go", "golang-1.15-src"), "bullseye"
_GO_ROOT = "usr/lib/go-1.15"
#: Processors that the build uses.
_JOBS = 2
_COMMAND = ("build", "-p", str(_JOBS), "-ldflags")
_BUILD_LIMIT = 3600.0
#: What the tests go without if it cannot be had.
_PURPOSE = "tests with a real kubelet"


@functools.cache
def pinned() -> tuple[Package, ...]:
    """Return the pinned packages for this machine's architecture, the source first."""
    mine = [each for each in read_lock(LOCK.read_text()) if each.architecture in (SOURCE, architecture())]
    return tuple(sorted(mine, key=lambda each: each.architecture != SOURCE))


def program() -> Path:
    """Return where the program lies once it has been built."""
    recipe = repr((_COMMAND, [str(each) for each in pinned()]))
    return CACHE / f"kubelet-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def built() -> bool:
    """Whether it has been built."""
    return program().is_file()


def replaced() -> str:
    """Return why it cannot be built any more as it is pinned; ``""`` if that is not known to be so."""
    try:
        return _marker().read_text().strip()
    except FileNotFoundError:
        return ""


def build() -> None:
    """Build it if it is missing.  If the archive has replaced a package it is left out, see :func:`replaced`.

    :raises Trouble: it cannot be built for another reason.
    """
    if built():
        return
    with _locked():
        if built():
            return
        try:
            _build()
        except Replaced as trouble:
            print(f"kubelet: {trouble}; {_PURPOSE} are left out", flush=True)
            _marker().write_text(f"{trouble}\n")
        else:
            _marker().unlink(missing_ok=True)


def update() -> None:
    """Write the lock anew with the versions that the archive has today; other architectures' lines stay.

    :raises Replaced: the archive has none of a package.
    """
    own = architecture()
    lines = [each for each in read_lock(LOCK.read_text()) if each.architecture not in (SOURCE, own)]
    with _locked(), _apt() as apt:
        lines.append(Package(_BUNDLE, SOURCE, _KUBERNETES, *apt.offered_source(_KUBERNETES, _SOURCE_RELEASE)))
        lines += [Package(_BUNDLE, own, each, *apt.offered(each, _GO_RELEASE)) for each in _GO]
    write_lock(LOCK, "python -m tools.kubelet --update", lines)
    pinned.cache_clear()


def _marker() -> Path:
    path = program()
    return path.with_name(f"{path.name}.replaced")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Have one process at a time fetch and build; others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _apt() -> Iterator[Apt]:
    """Give apt, and remove its directory at the end; what a killed process left there goes at the beginning."""
    directory = CACHE / "fetching"
    try:
        yield Apt(directory, [f"deb-src {_SOURCE_RELEASE}", f"deb {_GO_RELEASE}"])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _build() -> None:
    """Fetch the packages, and build the program; all but the program is removed at the end."""
    packages = pinned()
    if {each.name for each in packages} != {_KUBERNETES, *_GO}:
        raise Trouble(f"{LOCK.name} does not pin all for {architecture()}: python -m tools.kubelet --update")
    source, *compiler = packages
    print(f"fetching the source of Kubernetes from Debian's {_SOURCE_RELEASE}, Go from {_GO_RELEASE}", flush=True)
    with _apt() as apt:
        apt.require(source, _SOURCE_RELEASE)
        for package in compiler:
            apt.require(package, _GO_RELEASE)
        apt.download_source(source, apt.directory / "source")
        apt.download(compiler, apt.directory / "go")
        print("building kubelet, once, for some minutes", flush=True)
        began = time.monotonic()
        result = _compile(source, apt.directory)
        # A program that does not run on this machine fails here, and not in each test.
        version = run([str(result), "--version"]).strip()
        result.rename(program())
    print(f"built {version} in {time.monotonic() - began:.0f} s", flush=True)


def _compile(source: Package, directory: Path) -> Path:
    """Compile kubelet; return the program."""
    root = directory / "go" / _GO_ROOT
    result = directory / "kubelet"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "GOROOT": str(root),
        "GOPATH": str(directory / "path"),
        "GOCACHE": str(directory / "compiled"),
        "GOFLAGS": "-mod=vendor",
        "GO111MODULE": "on",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    # Debian's version is 1.20.5+really1.20.2-1; kubelet reports the one that it really is.
    version = source.version.partition("+really")[2].partition("-")[0] or source.version.partition("-")[0]
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{version}"
    command = ["nice", str(root / "bin" / "go"), *_COMMAND, flags, "-o", str(result), "./cmd/kubelet"]
    run(command, directory=directory / "source", environment=environment, limit=_BUILD_LIMIT)
    return result


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--update"]:
            update()
        build()
    except Trouble as trouble:
        sys.exit(f"kubelet: {trouble}")
