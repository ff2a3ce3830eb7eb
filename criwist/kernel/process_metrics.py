"""The processes of a container, counted: processes, open descriptors, sockets, the limit of open files.

The pids come from the container's cgroup and those below it.  A pid is another process's as soon as its process is
reaped, so each is opened once (``/proc/<pid>`` as a directory, which stays the same process's), its cgroup is compared
with the container's id, and everything else is read through that directory.

The cost is bounded.  Linux 6.2 and later report the number of descriptors without a list of them; before, the list is
read.  Sockets can be told apart by their links alone, which are read up to :data:`MOST_LINKS` for each container; a
container with more descriptors has no figure of sockets, rather than a wrong one.
"""

from __future__ import annotations

import os
import re

from criwist.interfaces.kernel_metrics import ProcessMetrics
from criwist.kernel.procfs import PROC

#: Cgroups of one container that are searched for processes.  One that runs an init of its own has some tens.
MOST_CGROUPS = 256
#: Processes of one container whose descriptors are counted: some ten system calls each.
MOST_PROCESSES = 512
#: Descriptors of one container whose links are read: some microseconds each.
MOST_LINKS = 2048

#: stat(2), which the unit tests replace: a file system on disk has other sizes.
status = os.stat
_OPEN_FILES = re.compile(r"^Max open files +(\d+|unlimited) ", re.MULTILINE)


def read_processes(pid: int, container_id: str, directory: str, proc: str = PROC) -> ProcessMetrics:
    """Return the figures of a container's processes.

    :param pid: its first process.
    :param directory: its cgroup, in a hierarchy in which a cgroup has processes.
    """
    pids = pids_below(directory)
    if pids is None:
        return ProcessMetrics(open_files_limit=_open_files_limit(pid, container_id, proc))
    descriptors, sockets = _descriptors(pids, container_id, proc) if len(pids) <= MOST_PROCESSES else (None, None)
    return ProcessMetrics(
        processes=len(pids),
        descriptors=descriptors,
        sockets=sockets,
        open_files_limit=_open_files_limit(pid, container_id, proc),
    )


def pids_below(directory: str) -> list[int] | None:
    """Return the pids in a cgroup and those below it; None if they cannot be read, or there are too many cgroups."""
    found: set[int] = set()
    for number, (above, _, _) in enumerate(os.walk(directory)):
        if number == MOST_CGROUPS:
            return None
        try:
            with open(f"{above}/cgroup.procs", encoding="ascii") as file:
                found.update(map(int, file.read().split()))
        except FileNotFoundError:  # removed during the walk
            continue
        except OSError:  # a threaded cgroup
            return None
    return sorted(found)


def parse_open_files_limit(text: str) -> int | None:
    """Return the soft limit of open files in a ``/proc/<pid>/limits``; -1: there is none."""
    match = _OPEN_FILES.search(text)
    if match is None:
        return None
    return -1 if match[1] == "unlimited" else int(match[1])


def _open_process(pid: int, container_id: str, proc: str) -> int | None:
    """Return a descriptor of the process's directory; None if it is no process of the container."""
    try:
        process = os.open(f"{proc}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    if container_id in (_read(process, "cgroup") or ""):
        return process
    os.close(process)
    return None


def _read(process: int, name: str) -> str | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    except OSError:
        return None
    try:
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _open_files_limit(pid: int, container_id: str, proc: str) -> int | None:
    process = _open_process(pid, container_id, proc)
    if process is None:
        return None
    try:
        return parse_open_files_limit(_read(process, "limits") or "")
    finally:
        os.close(process)


def _descriptors(pids: list[int], container_id: str, proc: str) -> tuple[int | None, int | None]:
    """Return the open descriptors and the sockets among them; None for what cannot be counted."""
    total = 0
    sockets: int | None = 0
    for pid in pids:
        process = _open_process(pid, container_id, proc)
        if process is None:
            continue  # it has ended
        try:
            count, names = _count(process)
            total += count
            if total > MOST_LINKS:
                sockets = None
            if sockets is not None:
                sockets += _sockets(process, names)
        except PermissionError:
            return None, None
        except OSError:
            continue  # it has ended meanwhile
        finally:
            os.close(process)
    return total, sockets


def _count(process: int) -> tuple[int, list[str] | None]:
    """Return the number of descriptors, and their names if the kernel does not tell the number alone."""
    size = status("fd", dir_fd=process).st_size
    if size:
        return size, None
    names = _names(process)
    return len(names), names


def _names(process: int) -> list[str]:
    directory = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    try:
        return os.listdir(directory)
    finally:
        os.close(directory)


def _sockets(process: int, names: list[str] | None) -> int:
    found = 0
    for name in _names(process) if names is None else names:
        try:
            found += os.readlink(f"fd/{name}", dir_fd=process).startswith("socket:[")
        except OSError:
            continue  # closed meanwhile
    return found
