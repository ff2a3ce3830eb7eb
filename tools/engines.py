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
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from tools.node.image import mirror
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

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIMIT = 600.0


class Replaced(Trouble):
    """The archive has another version than the pinned one by now."""


@frozen
class Package:
    """A line of the lock: a package of a bundle, for an architecture."""

    bundle: str
    architecture: str
    name: str
    version: str
    #: Of the ``.deb`` file, hexadecimal.
    sha256: str

    def __str__(self) -> str:
        return f"{self.bundle} {self.architecture} {self.name} {self.version} {self.sha256}"


def read_lock(text: str) -> list[Package]:
    """Return the packages that a lock pins."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [Package(*fields) for fields in lines]


@functools.cache
def pinned(bundle: str) -> tuple[Package, ...]:
    """Return what is pinned of a bundle for this machine's architecture."""
    wanted = (bundle, _architecture())
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
    apt = _Apt({BUNDLES[bundle].release for bundle in missing})
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
    apt = _Apt({bundle.release for bundle in BUNDLES.values()})
    architecture = _architecture()
    lines = [each for each in read_lock(LOCK.read_text()) if each.architecture != architecture]
    for name, bundle in BUNDLES.items():
        packages = list(bundle.packages)
        if name == _WITH_LIBRARIES:
            packages += apt.libraries(bundle.packages, bundle.release)
        lines += [Package(name, architecture, each, *apt.offered(each, bundle.release)) for each in packages]
    header = "# Written by python -m tools.engines --update: bundle, architecture, package, version, SHA-256\n"
    LOCK.write_text(header + "".join(f"{line}\n" for line in sorted(lines, key=str)))
    pinned.cache_clear()
    apt.remove()


def _marker(bundle: str) -> Path:
    directory = programs(bundle)
    return directory.with_name(f"{directory.name}.replaced")


@functools.cache
def _architecture() -> str:
    return _run(["dpkg", "--print-architecture"]).strip()


class _Apt:
    """apt with the lists of other releases than the machine's, all below one directory, which is made anew."""

    def __init__(self, releases: Iterable[str]) -> None:
        self.directory = CACHE / "fetching"
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True)
        uri = _mirror()
        sources = self.directory / "sources.list"
        sources.write_text("".join(f"deb [signed-by={_KEYRING}] {uri} {release} main\n" for release in releases))
        settings = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self.directory,
            "Dir::State::Lists": self.directory / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": self.directory / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # The cache need not be readable for apt's own user.
            "APT::Sandbox::User": "root",
        }
        configuration = self.directory / "apt.conf"
        configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        self._environment = os.environ | {"APT_CONFIG": str(configuration)}
        self._run("apt-get", "update")

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def offered(self, name: str, release: str) -> tuple[str, str]:
        """Return the version and the checksum that a release has of a package."""
        fields = _fields(self._run("apt-cache", "show", "--no-all-versions", f"{name}/{release}"))
        return fields["Version"], fields["SHA256"]

    def download(self, packages: Sequence[Package], directory: Path) -> None:
        """Fetch packages and unpack them into *directory*.

        :raises Replaced: the archive has another version of one of them.
        :raises Trouble: a file's checksum is not the pinned one, or apt fails.
        """
        for package in packages:
            release = BUNDLES[package.bundle].release
            version, _ = self.offered(package.name, release)
            if version != package.version:
                raise Replaced(f"Debian's {release} has {package.name} {version} by now, not {package.version}")
        files = directory.with_name(f"{directory.name}.packages")
        files.mkdir(parents=True)
        names = [f"{package.name}={package.version}" for package in packages]
        self._run("apt-get", "download", *names, directory=files)
        sums = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files.glob("*.deb")}
        for package in packages:
            if package.sha256 not in sums:
                raise Trouble(f"{package.name} {package.version}: its checksum is not the pinned one")
            _run(["dpkg-deb", "--extract", str(sums[package.sha256]), str(directory)])
        shutil.rmtree(files)

    def libraries(self, names: Sequence[str], release: str) -> list[str]:
        """Return all packages with libraries that packages depend on, directly or not."""
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        listed = self._run(
            *("apt-cache", "-o", f"APT::Default-Release={release}", "depends", "--recurse"),
            *(f"--no-{kind}" for kind in kinds),
            *names,
        )
        return sorted({line for line in listed.splitlines() if line.startswith("lib")})

    def _run(self, *command: str, directory: Path | None = None) -> str:
        return _run(command, directory=directory, environment=self._environment)


def _mirror() -> str:
    """Return where this machine's apt gets Debian's packages, also if it has forgotten its lists."""
    try:
        return mirror()
    except Trouble:
        _run(["apt-get", "update"])
        return mirror()


def _fields(text: str) -> Mapping[str, str]:
    """Return the one-line fields of the first paragraph of a control file."""
    paragraph = text.split("\n\n")[0]
    lines = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith(" "))
    return {name: value for name, _, value in lines}


def _take(apt: _Apt, bundle: str) -> None:
    """Unpack a bundle's programs into its directory."""
    target = programs(bundle)
    packages = pinned(bundle)
    if not packages:
        raise Trouble(f"{LOCK.name} pins nothing of {bundle} for {_architecture()}: python -m tools.engines --update")
    work = apt.directory / target.name
    root = work / "root"
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
        _run([str(work / name), "--version"])
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)


def _run(command: Sequence[str], *, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if run.returncode != 0:
        raise Trouble(f"{' '.join(command)}: status {run.returncode}\n{(run.stderr or run.stdout).strip()}")
    return run.stdout


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--update"]:
            update()
        fetch()
    except Trouble as trouble:
        sys.exit(f"engines: {trouble}")
