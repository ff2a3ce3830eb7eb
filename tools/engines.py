"""Docker Engines of later Debian releases, for the tests:  ``python -m tools.engines`` fetches all of them.

Their packages are unpacked below ``.cache/engines`` and not installed: dockerd and containerd run from there, beside
the machine's own.  runc is the machine's, because later ones need a later C library.  CRIU, which engines use for
checkpoints and which has to match the kernel, comes with that library and all others that it needs.

apt fetches them, with lists of its own, from the package source of this machine's apt, and checks their signatures.
Fetched engines stay until ``make clean``, whatever the release gets in the meantime.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.node.image import mirror
from tools.node.places import ROOT, Trouble

CACHE = ROOT / ".cache" / "engines"

#: Releases of Debian after the machine's; their engines are 26.1 (API 1.45), 28.5 (API 1.51) or later.
RELEASES = ("trixie", "forky")

#: Packages of each release; docker.io contains docker-proxy, containerd its shim.
_PACKAGES = ("docker.io", "containerd")

#: Programs that an engine's directory must have.
_PROGRAMS = ("dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2")

#: A script that runs CRIU with the libraries of its own release.
_CRIU = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/criu-root
libraries=$(dirname "$root"/usr/lib/*/ld-linux-*)
exec "$libraries"/ld-linux-* --library-path "$libraries" "$root/usr/sbin/criu" "$@"
"""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIMIT = 600.0


def programs(release: str) -> Path:
    """Return the directory of a release's engine, fetched or not."""
    recipe = hashlib.sha256(repr((_PACKAGES, _PROGRAMS, _CRIU, platform.machine())).encode()).hexdigest()[:8]
    return CACHE / f"{release}-{recipe}"


def fetched(release: str) -> bool:
    """Return whether a release's engine has been fetched."""
    return programs(release).is_dir()


def fetch(releases: Sequence[str] = RELEASES) -> None:
    """Fetch the engines that are missing.

    :raises Trouble: they cannot be fetched or do not run here.
    """
    missing = [release for release in releases if not fetched(release)]
    if not missing:
        return
    work = CACHE / "fetching"
    shutil.rmtree(work, ignore_errors=True)
    apt = _Apt(work, missing)
    apt.run("apt-get", "update")
    for release in missing:
        print(f"fetching the engine of Debian's {release}", flush=True)
        directory = work / release
        _take(apt, release, directory)
        shutil.rmtree(programs(release), ignore_errors=True)
        directory.rename(programs(release))
    shutil.rmtree(work)


class _Apt:
    """apt with package lists of other releases, all below *directory*."""

    def __init__(self, directory: Path, releases: Sequence[str]) -> None:
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True)
        uri = _mirror()
        sources = directory / "sources.list"
        sources.write_text("".join(f"deb [signed-by={_KEYRING}] {uri} {release} main\n" for release in releases))
        settings = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": directory,
            "Dir::State::Lists": directory / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": directory / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # apt's own user may have no access to the cache.
            "APT::Sandbox::User": "root",
        }
        configuration = directory / "apt.conf"
        configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        self._environment = os.environ | {"APT_CONFIG": str(configuration)}

    def download(self, names: Sequence[str], release: str, directory: Path) -> None:
        """Fetch packages of a release and unpack them into *directory*."""
        packages = directory.with_name(f"{directory.name}.packages")
        packages.mkdir()
        self.run("apt-get", "download", *(f"{name}/{release}" for name in names), directory=packages)
        for package in packages.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(directory)])
        shutil.rmtree(packages)

    def libraries(self, name: str, release: str) -> list[str]:
        """Return all packages with libraries that a package depends on, directly or not."""
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        listed = self.run(
            *("apt-cache", "-o", f"APT::Default-Release={release}", "depends", "--recurse"),
            *(f"--no-{kind}" for kind in kinds),
            name,
        )
        return sorted({line for line in listed.splitlines() if line.startswith("lib")})

    def run(self, *command: str, directory: Path | None = None) -> str:
        """Run a command of apt's and return its output.

        :raises Trouble: it failed; the text has its output.
        """
        return _run(command, directory=directory, environment=self._environment)


def _mirror() -> str:
    """Return the URI from which this machine's apt gets Debian's packages; update its lists if it has none."""
    try:
        return mirror()
    except Trouble:
        _run(["apt-get", "update"])
        return mirror()


def _take(apt: _Apt, release: str, directory: Path) -> None:
    """Put the programs of a release's engine, and CRIU, into *directory*."""
    unpacked = directory.with_name(f"{release}-unpacked")
    apt.download(_PACKAGES, release, unpacked)
    directory.mkdir()
    for name in _PROGRAMS:
        found = [path for path in unpacked.glob(f"usr/*bin/{name}") if path.is_file()]
        if not found:
            raise Trouble(f"Debian's {release} has no {name} in {' or '.join(_PACKAGES)}")
        found[0].rename(directory / name)
    apt.download(["criu", *apt.libraries("criu", release)], release, directory / "criu-root")
    script = directory / "criu"
    script.write_text(_CRIU)
    script.chmod(0o755)
    # A program that does not run on this machine fails here, once, and not in each test.
    for name in ("dockerd", "containerd", "criu"):
        _run([str(directory / name), "--version"])


def _run(command: Sequence[str], *, directory: Path | None = None, environment: dict[str, str] | None = None) -> str:
    run = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if run.returncode != 0:
        raise Trouble(f"{' '.join(command)}: status {run.returncode}\n{(run.stderr or run.stdout).strip()}")
    return run.stdout


if __name__ == "__main__":
    try:
        fetch()
    except Trouble as trouble:
        sys.exit(f"engines: {trouble}")
