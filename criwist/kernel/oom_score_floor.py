"""The lowest oom_score_adj that an engine may set.

Without CAP_SYS_RESOURCE, a process may lower an oom_score_adj only to a minimum, which children inherit and only
writers with the capability change (proc(5); ``oom_score_adj_min`` in the kernel, which no file shows).  A process's own
oom_score_adj is never below its minimum, so a child can always get that value again.  How much lower it may go is
unknown before an attempt.

runc writes the value, as a grandchild of the containerd that the engine uses: a child of dockerd, or a service beside
it.  runc runs as root, so it has the capability if containerd's bounding set has it (capabilities(7)) and containerd is
in the initial user namespace, since only capabilities of that namespace count.  A rootless engine is not in it.
"""

from __future__ import annotations

import socket
import struct

from criwist.errors import NotFound
from criwist.kernel.process_identity import CAP_SYS_RESOURCE, read_identity
from criwist.kernel.procfs import PROC, all_pids, read_stat, read_text

#: The lowest value that the kernel accepts.
LEAST_SCORE = -1000

_ENGINE = "dockerd"
_CONTAINERD = "containerd"
#: ``uid_map`` of the initial user namespace, read from within.
_INITIAL_UID_MAP = ["0", "0", "4294967295"]


def local_oom_score_floor(docker_endpoint: str, proc: str = PROC) -> int | None:
    """Return the lowest oom_score_adj that the engine at *docker_endpoint* can certainly give to a container.

    None if it is unknown: the engine is on another machine, does not run, or its process is hidden from criwist.
    """
    pid = engine_pid(docker_endpoint, proc)
    return None if pid is None else oom_score_floor(pid, proc)


def oom_score_floor(engine_pid: int, proc: str = PROC) -> int | None:
    """Return the same as :func:`local_oom_score_floor`, for a dockerd process.

    The floor is -1000 if all processes that may start the engine's containers have CAP_SYS_RESOURCE, else the highest
    of their own scores.
    """
    floors = [_floor(pid, proc) for pid in containerds(engine_pid, proc)]
    known = [floor for floor in floors if floor is not None]
    return max(known) if known else None


def engine_pid(docker_endpoint: str, proc: str = PROC) -> int | None:
    """Return the pid of the engine that serves a ``unix://`` endpoint, None if it is unknown.

    The socket's peer is the process that called listen(2).  With socket activation that is the service manager; then
    the engine is the machine's dockerd, if there is exactly one.
    """
    scheme, _, path = docker_endpoint.partition("://")
    if scheme != "unix":
        return None
    pid = _peer(path)
    if pid is not None and _command(pid, proc) == _ENGINE:
        return pid
    engines = [other for other in all_pids(proc) if _command(other, proc) == _ENGINE] if pid is not None else []
    return engines[0] if len(engines) == 1 else None


def _peer(path: str) -> int | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as client:
            client.connect(path)
            credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid if pid > 0 else None  # 0: a process outside of our pid namespace


def containerds(engine_pid: int, proc: str = PROC) -> list[int]:
    """Return the containerd that is the engine's child, else all that are no child of a dockerd, else the engine."""
    parents = {}
    for pid in all_pids(proc):
        if _command(pid, proc) == _CONTAINERD and (stat := read_stat(pid, proc)) is not None:
            parents[pid] = stat.parent
    children = [pid for pid, parent in parents.items() if parent == engine_pid]
    services = [pid for pid, parent in parents.items() if _command(parent, proc) != _ENGINE]
    return children or services or [engine_pid]


def _floor(pid: int, proc: str) -> int | None:
    score = read_text(f"{proc}/{pid}/oom_score_adj")
    uid_map = read_text(f"{proc}/{pid}/uid_map")
    try:
        identity = read_identity(pid, proc)
    except NotFound:
        return None
    capable = bool(identity.bounding >> CAP_SYS_RESOURCE & 1) and (uid_map or "").split() == _INITIAL_UID_MAP
    if capable:
        return LEAST_SCORE
    return int(score) if score else None


def _command(pid: int, proc: str) -> str:
    return (read_text(f"{proc}/{pid}/comm") or "").rstrip("\n")
