"""Readers of a process's files in ``/proc``.

A pid names a process only until the process is reaped.  So a process is identified by its pid *and* its start time:
the kernel reuses a pid only after all others have been used, which cannot happen within one clock tick.  For a process
that ends while it is read, functions return None and raise nothing.

The path of ``/proc`` is a parameter everywhere, so that unit tests pass their own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from attrs import frozen

PROC = "/proc"
#: Bytes of one read.
_PIECE = 65536

#: Zombie and dead, the states in which a process runs no more code (proc(5)).
_DEAD = frozenset("ZXx")


@frozen
class ProcessStat:
    """The fields of ``/proc/<pid>/stat`` that criwist uses."""

    pid: int
    #: One letter, see proc(5).
    state: str
    parent: int
    #: Pid of the process that created the process group; it may have ended.
    group: int
    #: Pid of the process that created the session; it may have ended.
    session: int
    threads: int
    #: Clock ticks since boot.
    start: int

    @property
    def alive(self) -> bool:
        """Whether any of its threads can still run; a zombie whose other threads run is alive."""
        return self.state not in _DEAD or self.threads > 1

    @property
    def leads(self) -> bool:
        """Whether it is the leader of its process group."""
        return self.group == self.pid

    def same_process(self, other: ProcessStat | None) -> bool:
        """Return whether *other* was read from this process, not from a later one with the same pid."""
        return other is not None and (self.pid, self.start) == (other.pid, other.start)


def read_text(path: str) -> str | None:
    """Return the file's text (undecodable bytes by surrogateescape), None if the process is gone or hidden."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        pieces = iter(lambda: os.read(descriptor, _PIECE), b"")  # the kernel returns long files in pieces of a page
        return b"".join(pieces).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    finally:
        os.close(descriptor)


def parse_stat(text: str) -> ProcessStat:
    """Parse a line of ``/proc/<pid>/stat``; the command in it may contain blanks and parentheses."""
    number, _, rest = text.partition(" ")
    fields = rest[rest.rindex(")") + 2 :].split()
    return ProcessStat(
        pid=int(number),
        state=fields[0],
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        threads=int(fields[17]),
        start=int(fields[19]),
    )


def read_stat(pid: int, proc: str = PROC) -> ProcessStat | None:
    """Return the process's stat, None if there is no process with this pid."""
    text = read_text(f"{proc}/{pid}/stat")
    return parse_stat(text) if text else None


def all_pids(proc: str = PROC) -> list[int]:
    """Return the pids of all processes of the host, in ascending order."""
    return sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())


def read_children(pid: int, proc: str = PROC) -> set[int]:
    """Return the children of all threads of the process, in any cgroup; empty without CONFIG_PROC_CHILDREN.

    Complete only while neither the process nor its children run (proc(5), ``/proc/<pid>/task/<tid>/children``).
    """
    try:
        threads = os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return set()
    found: set[int] = set()
    for thread in threads:
        text = read_text(f"{proc}/{pid}/task/{thread}/children")
        found.update(map(int, (text or "").split()))
    return found


def read_variable(pid: int, name: str, proc: str = PROC) -> str | None:
    """Return the environment variable's value at the process's last execve(2), None if it was not set."""
    text = read_text(f"{proc}/{pid}/environ")
    for entry in (text or "").split("\0"):
        key, equals, value = entry.partition("=")
        if equals and key == name:
            return value
    return None


def open_streams(pid: int, descriptors: Iterable[int] | None = None, proc: str = PROC) -> set[str]:
    """Return a name, unique on the host, for every unnamed pipe, socket and pseudo-terminal that the process has open.

    Files are not touched, so that a dead network file system cannot block the caller.

    :param descriptors: the descriptors to read; None: all.
    """
    directory = f"{proc}/{pid}/fd"
    try:
        names = os.listdir(directory) if descriptors is None else [str(number) for number in descriptors]
        found = {_stream_name(f"{directory}/{name}") for name in names}
    except OSError:
        return set()
    return found - {""}


#: Major numbers of the slaves of UNIX 98 pseudo-terminals (Documentation/admin-guide/devices.txt).
_PTY_MAJORS = range(136, 144)


def _stream_name(link: str) -> str:
    try:
        target = os.readlink(link)
        if target.startswith(("pipe:[", "socket:[")):
            return target
        if not target.startswith("/dev/"):
            return ""
        status = os.stat(link)
    except OSError:  # closed meanwhile
        return ""
    if stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in _PTY_MAJORS:
        return f"pty:[{status.st_dev}:{status.st_ino}]"
    return ""
