"""The session's own directory, and what a session that was killed may have left behind.

A session is known by the name of its directory, which holds its process id and when that process was started.
Everything it starts inherits that name in the environment variable ``CRIWIST_TEST_SESSION``; containers, whose
environment is their own, run in cgroups below one that bears it.  When that process is gone, what is marked so belongs
to nobody: it is killed, and cgroups and directory are removed.  No other process is touched.

Workers of one run begin together, and the first of them that locks a dead session's directory removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
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
        pid, _, since = directory.name.removeprefix(_PREFIX).partition("-")
        if pid.isdigit() and started(int(pid)) != since:
            _remove_once(directory)
    own = parent / f"{_PREFIX}{os.getpid()}-{started(os.getpid())}"
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


def started(pid: int) -> str:
    """Return when a process was started, in the kernel's clock ticks since boot; ``""`` if it is dead (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _remove_once(directory: Path) -> None:
    """Remove a dead session, unless another process is doing so; then wait until it has."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if directory.exists():
            remove_session(directory)
    finally:
        os.close(descriptor)


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
