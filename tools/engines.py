"""Docker Engines of later Debian releases, for the tests.

    python -m tools.engines            fetch those that are missing
    python -m tools.engines --update   pin today's versions, then fetch them

Their packages are unpacked below ``.cache/engines`` and not installed: dockerd and containerd run beside the machine's
own, from there.  runc is the machine's, since later ones want a later C library.  CRIU, which engines take checkpoints
by and which has to know the kernel, comes with that library and all others it wants.

``engines.lock`` beside this file names each package with its version and checksum, so that a commit is tested with the
same engines for ever, or, once Debian has replaced one of the packages, without that engine: an archive keeps only the
newest version.  What cannot be fetched for that reason is printed in one line, with the tests that are left out;
anything else that fails is an error.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import sys
from pathlib import Path

from attrs import frozen

from tools.debian import Apt, Package, Replaced, architecture, read_lock, run, write_lock
from tools.node.places import ROOT, Trouble

CACHE = ROOT / ".cache" / "engines"
LOCK = Path(__file__).with_name("engines.lock")


@frozen
class Bundle:
    """Programs that are fetched together."""

    #: The Debian release that they are taken from.
    release: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    #: What the tests go without if it cannot be had.
    purpose: str


_ENGINE = (("docker.io", "containerd"), ("dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2"))

#: By name.  The engines are 26.1 (API 1.45) and 28.5 (API 1.51), the newest that a package registry offers.
BUNDLES = {
    "docker-26": Bundle("trixie", *_ENGINE, purpose="tests on Docker Engine 26.1"),
    "docker-28": Bundle("forky", *_ENGINE, purpose="tests on Docker Engine 28.5"),
    "criu": Bundle("forky", ("criu",), ("criu",), purpose="tests that take checkpoints"),
}
#: This bundle's packages are followed by all packages with libraries that they depend on.
_WITH_LIBRARIES = "criu"

#: Of the packages that CRIU depends on, the libraries are those that it runs by.
_CRIU = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
libraries=$(dirname "$root"/usr/lib/*/ld-linux-*)
exec "$libraries"/ld-linux-* --library-path "$libraries" "$root/usr/sbin/criu" "$@"
"""


@functools.cache
def pinned(bundle: str) -> tuple[Package, ...]:
    """Return what is pinned of a bundle for this machine's architecture."""
    wanted = (bundle, architecture())
    return tuple(each for each in read_lock(LOCK.read_text()) if (each.bundle, each.architecture) == wanted)


def programs(bundle: str) -> Path:
    """Return where a bundle's programs lie once they have been fetched."""
    recipe = repr((BUNDLES[bundle], _CRIU, [str(each) for each in pinned(bundle)]))
    return CACHE / f"{bundle}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def fetched(bundle: str) -> bool:
    """Whether its programs have been fetched."""
    return programs(bundle).is_dir()


def replaced(bundle: str) -> str:
    """Return why a bundle cannot be had any more as it is pinned; ``""`` if that is not known to be so."""
    try:
        return _marker(bundle).read_text().strip()
    except FileNotFoundError:
        return ""


def fetch() -> None:
    """Fetch what is missing.  A bundle whose packages the archive has replaced is left out, see :func:`replaced`.

    :raises Trouble: it cannot be fetched for another reason.
    """
    missing = [bundle for bundle in BUNDLES if not fetched(bundle)]
    if not missing:
        return
    apt = _apt({BUNDLES[bundle].release for bundle in missing})
    for bundle in missing:
        print(f"fetching {bundle} from Debian's {BUNDLES[bundle].release}", flush=True)
        try:
            _take(apt, bundle)
        except Replaced as trouble:
            print(f"engines: {trouble}; {BUNDLES[bundle].purpose} are left out", flush=True)
            _marker(bundle).write_text(f"{trouble}\n")
        else:
            _marker(bundle).unlink(missing_ok=True)
    apt.remove()


def update() -> None:
    """Write the lock anew with the versions that the archive has today; other architectures' lines stay."""
    apt = _apt({bundle.release for bundle in BUNDLES.values()})
    own = architecture()
    lines = [each for each in read_lock(LOCK.read_text()) if each.architecture != own]
    for name, bundle in BUNDLES.items():
        packages = list(bundle.packages)
        if name == _WITH_LIBRARIES:
            packages += apt.libraries(bundle.packages, bundle.release)
        lines += [Package(name, own, each, *apt.offered(each, bundle.release)) for each in packages]
    write_lock(LOCK, "python -m tools.engines --update", lines)
    pinned.cache_clear()
    apt.remove()


def _marker(bundle: str) -> Path:
    directory = programs(bundle)
    return directory.with_name(f"{directory.name}.replaced")


def _apt(releases: set[str]) -> Apt:
    return Apt(CACHE / "fetching", [f"deb {release}" for release in releases])


def _take(apt: Apt, bundle: str) -> None:
    """Unpack a bundle's programs into its directory."""
    target = programs(bundle)
    packages = pinned(bundle)
    if not packages:
        raise Trouble(f"{LOCK.name} pins nothing of {bundle} for {architecture()}: python -m tools.engines --update")
    work = apt.directory / target.name
    root = work / "root"
    for package in packages:
        apt.require(package, BUNDLES[bundle].release)
    apt.download(packages, root)
    for name in BUNDLES[bundle].programs:
        found = [path for path in root.glob(f"usr/*bin/{name}") if path.is_file()]
        if not found:
            raise Trouble(f"{bundle}: there is no {name} in {', '.join(BUNDLES[bundle].packages)}")
        if bundle != _WITH_LIBRARIES:
            found[0].rename(work / name)
    if bundle == _WITH_LIBRARIES:
        (work / "criu").write_text(_CRIU)
        (work / "criu").chmod(0o755)
    else:
        shutil.rmtree(root)
    # A program that does not run on this machine fails here, and not in each test.
    for name in set(BUNDLES[bundle].programs) & {"dockerd", "containerd", "criu"}:
        run([str(work / name), "--version"])
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--update"]:
            update()
        fetch()
    except Trouble as trouble:
        sys.exit(f"engines: {trouble}")
