"""Packages of Debian releases, other ones than the machine's own too: by apt, below one directory, nothing installed.

A lock file pins each package with its version and checksum.  An archive keeps only the newest version of a package, so
a pinned one may be gone one day: :class:`Replaced`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from tools.node.image import mirror
from tools.node.places import Trouble

#: What a source package's line in a lock has as its architecture.
SOURCE = "source"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIMIT = 600.0


class Replaced(Trouble):
    """The archive does not have the pinned version any more."""


@frozen
class Package:
    """A line of a lock: a package of a bundle, for an architecture."""

    bundle: str
    #: Debian's name of it, or :data:`SOURCE`.
    architecture: str
    name: str
    version: str
    #: Of the ``.deb`` file, or of a source package's original archive; hexadecimal.
    sha256: str

    def __str__(self) -> str:
        return f"{self.bundle} {self.architecture} {self.name} {self.version} {self.sha256}"


def read_lock(text: str) -> list[Package]:
    """Return the packages that a lock pins."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [Package(*fields) for fields in lines]


def write_lock(path: Path, command: str, packages: Iterable[Package]) -> None:
    """Write a lock.

    :param command: what a user types to write it anew.
    """
    header = f"# Written by {command}: bundle, architecture, package, version, SHA-256\n"
    path.write_text(header + "".join(f"{line}\n" for line in sorted(packages, key=str)))


@functools.cache
def architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).strip()


class Apt:
    """apt with the lists of some releases, all below one directory, which is made anew.

    :param sources: lines of a ``sources.list`` without archive and component: ``deb trixie``, ``deb-src trixie``.
    :raises Replaced: the archive has no such release any more.
    :raises Trouble: the archive does not answer.
    """

    def __init__(self, directory: Path, sources: Iterable[str]) -> None:
        self.directory = directory
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True)
        uri = _mirror()
        listed = self.directory / "sources.list"
        kinds = [source.split() for source in sources]
        listed.write_text("".join(f"{kind} [signed-by={_KEYRING}] {uri} {release} main\n" for kind, release in kinds))
        settings = {
            "Dir::Etc::SourceList": listed,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self.directory,
            "Dir::State::Lists": self.directory / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": self.directory / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Update::Error-Mode": "any",
            # The cache need not be readable for apt's own user.
            "APT::Sandbox::User": "root",
        }
        configuration = self.directory / "apt.conf"
        configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        self._environment = os.environ | {"APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}
        try:
            self._run("apt-get", "update")
        except Trouble as trouble:
            if "does not have a Release file" in str(trouble):
                raise Replaced(f"Debian's archive has no {' or no '.join(release for _, release in kinds)}") from None
            raise

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def offered(self, name: str, release: str) -> tuple[str, str]:
        """Return the version and the checksum that a release has of a package.

        :raises Replaced: it has none.
        """
        try:
            fields = _fields(self._run("apt-cache", "show", "--no-all-versions", f"{name}/{release}"))
        except Trouble as trouble:
            if "No packages found" in str(trouble):
                raise Replaced(f"Debian's {release} has no {name} any more") from None
            raise
        return fields["Version"], fields["SHA256"]

    def offered_source(self, name: str, release: str) -> tuple[str, str]:
        """Return the version of a source package, and the checksum of its original archive.  One release is listed.

        :raises Replaced: the release has none.
        """
        text = self._run("apt-cache", "showsrc", "--only-source", name)
        if not text.strip():
            raise Replaced(f"Debian's {release} has no source of {name} any more")
        paragraph = text.strip().split("\n\n")[-1]
        sums = paragraph.partition("Checksums-Sha256:")[2]
        original = next(line.split() for line in sums.splitlines() if ".orig.tar." in line)
        return _fields(paragraph)["Version"], original[0]

    def require(self, package: Package, release: str) -> None:
        """Check that a release has the pinned version of a package.

        :raises Replaced: it has not.
        """
        offered = self.offered_source if package.architecture == SOURCE else self.offered
        version, _ = offered(package.name, release)
        if version != package.version:
            raise Replaced(f"Debian's {release} has {package.name} {version} by now, not {package.version}")

    def download(self, packages: Sequence[Package], directory: Path) -> None:
        """Fetch binary packages of required versions and unpack them into *directory*.

        :raises Trouble: a file's checksum is not the pinned one, or apt fails.
        """
        files = directory.with_name(f"{directory.name}.packages")
        files.mkdir(parents=True)
        names = [f"{package.name}={package.version}" for package in packages]
        self._run("apt-get", "download", *names, directory=files)
        for package in packages:
            run(["dpkg-deb", "--extract", str(_pinned_file(package, files.glob("*.deb"))), str(directory)])
        shutil.rmtree(files)

    def download_source(self, package: Package, directory: Path) -> None:
        """Fetch a source package of a required version and unpack its original archive into *directory*.

        :raises Trouble: the archive's checksum is not the pinned one, or apt fails.
        """
        files = directory.with_name(f"{directory.name}.packages")
        files.mkdir(parents=True)
        directory.mkdir(parents=True)
        command = ("apt-get", "source", "--download-only", "--only-source")
        self._run(*command, f"{package.name}={package.version}", directory=files)
        archive = _pinned_file(package, files.glob("*.orig.tar.*"))
        run(["tar", "--extract", f"--file={archive}", f"--directory={directory}", "--strip-components=1"])
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
        return run(command, directory=directory, environment=self._environment)


def run(
    command: Sequence[str],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limit: float = _LIMIT,
) -> str:
    """Run a command; return its standard output.

    :param limit: in seconds.
    :raises Trouble: it fails.
    """
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=limit, check=False
    )
    if run.returncode != 0:
        raise Trouble(f"{' '.join(command)}: status {run.returncode}\n{(run.stderr or run.stdout).strip()}")
    return run.stdout


def _pinned_file(package: Package, files: Iterable[Path]) -> Path:
    for path in files:
        if hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    raise Trouble(f"{package.name} {package.version}: its checksum is not the pinned one")


def _mirror() -> str:
    """Return where this machine's apt gets Debian's packages, also if it has forgotten its lists."""
    try:
        return mirror()
    except Trouble:
        run(["apt-get", "update"])
        return mirror()


def _fields(text: str) -> Mapping[str, str]:
    """Return the one-line fields of the first paragraph of a control file."""
    paragraph = text.split("\n\n")[0]
    lines = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith(" "))
    return {name: value for name, _, value in lines}
