"""The session's own directory, and what a session that was killed may have left behind.

A session is known by the name of its directory, which holds its process id.  Everything it starts inherits that name
in the environment variable ``CRIWIST_TEST_SESSION``; containers, whose environment is their own, run in cgroups below
one that bears it.  When the process is gone whose id the name holds, what is marked so belongs to nobody: it is
killed, and cgroups and directory are removed.  No other process is touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

_PREFIX = "criwist-tests-"
_VARIABLE = "CRIWIST_TEST_SESSION"


def session_directory(parent: Path) -> Path:
    """Make the directory of this session under *parent*, after removing those of dead sessions."""
    for directory in parent.glob(_PREFIX + "*"):
        pid = directory.name.removeprefix(_PREFIX)
        if pid.isdigit() and (int(pid) == os.getpid() or not _alive(pid)):
            remove_session(directory)
    own = parent / f"{_PREFIX}{os.getpid()}"
    own.mkdir(mode=0o711, parents=True)
    os.environ[_VARIABLE] = own.name
    return own


def remove_session(directory: Path) -> None:
    """End what still runs of the session, then remove its mounts, cgroups and directory."""
    _kill_all(directory.name)
    unmount_below(directory)
    _remove_cgroups(directory.name)
    shutil.rmtree(directory, ignore_errors=True)


def unmount_below(directory: Path) -> None:
    """Unmount everything at and below *directory* that this process's mount namespace shows."""
    points = []
    with Path("/proc/self/mountinfo").open() as lines:
        for line in lines:
            point = Path(line.split()[4].encode().decode("unicode_escape"))
            if point.is_relative_to(directory):
                points.append(str(point))
    for path in sorted(points, reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True, timeout=30)


def cgroup_parent(session: str, *, systemd: bool = False) -> str:
    """The cgroup below which all containers of a session are kept, as ``dockerd --cgroup-parent`` wants it."""
    return session.replace("-", "_") + ".slice" if systemd else f"/{session}"


def _alive(pid: str) -> bool:
    """Whether the process runs; one that is dead and waits to be collected does not."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _remove_cgroups(session: str) -> None:
    names = (cgroup_parent(session).strip("/"), cgroup_parent(session, systemd=True))
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        for name in names:
            for directory, _, _ in os.walk(root / name, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def _kill_all(session: str) -> None:
    for _ in range(50):
        victims = _processes(session)
        if not victims:
            return
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _processes(session: str) -> list[int]:
    """Processes of the session other than this one."""
    environment = f"{_VARIABLE}={session}".encode()
    cgroups = (f":/{session}/", f"/{cgroup_parent(session, systemd=True)}/")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            marked = environment in (entry / "environ").read_bytes().split(b"\0")
            if marked or any(name in (entry / "cgroup").read_text() for name in cgroups):
                found.append(int(entry.name))
    return found
