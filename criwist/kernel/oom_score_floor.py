"""How far down an engine may set oom_score_adj.

The kernel lets a process lower an oom_score_adj without CAP_SYS_RESOURCE only as far as a minimum that is inherited
with it, and moved only by writers that have the capability (proc(5); ``oom_score_adj_min`` in the kernel, which
nobody can read).  A process's own oom_score_adj is never below its minimum, so a child can always be given that
value again; how much lower it may go cannot be told without trying.

It is runc that writes the value, as a grandchild of the containerd that the engine uses: a child of dockerd, or a
service beside it.  runc is exec'd as root, so it has the capability if containerd's bounding set has it
(capabilities(7)) and containerd is in the initial user namespace, whose capabilities alone count; a rootless
engine is not.
"""

from __future__ import annotations

import socket
import struct

from criwist.errors import NotFound
from criwist.kernel.process_identity import CAP_SYS_RESOURCE, read_identity
from criwist.kernel.procfs import PROC, all_pids, read_stat, read_text

#: What the kernel takes at all.
LEAST_SCORE = -1000

_ENGINE = "dockerd"
_CONTAINERD = "containerd"
#: ``uid_map`` of the initial user namespace, seen from within.
_EVERY_ID = ["0", "0", "4294967295"]


def local_oom_score_floor(docker_endpoint: str, proc: str = PROC) -> int | None:
    """The least oom_score_adj that the engine at *docker_endpoint* can certainly give to a container.

    None if that cannot be told from here: the engine is on another machine, is away, or its process is hidden from us.
    """
    pid = engine_pid(docker_endpoint, proc)
    return None if pid is None else oom_score_floor(pid, proc)


def oom_score_floor(engine_pid: int, proc: str = PROC) -> int | None:
    """As :func:`local_oom_score_floor`, of a dockerd process.

    The floor is -1000 if all processes that may start the engine's containers have CAP_SYS_RESOURCE, else the
    highest of their own scores.
    """
    floors = [_floor(pid, proc) for pid in containerds(engine_pid, proc)]
    known = [floor for floor in floors if floor is not None]
    return max(known) if known else None


def engine_pid(docker_endpoint: str, proc: str = PROC) -> int | None:
    """The process that serves a ``unix://`` endpoint, None if it cannot be told.

    The socket's peer is whoever called listen(2).  With socket activation that is the service manager; then the
    engine is the only dockerd of the machine, if there is but one.
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
    """The containerd that is the engine's child, else all that are services of their own, else the engine."""
    parents = {}
    for pid in all_pids(proc):
        if _command(pid, proc) == _CONTAINERD and (stat := read_stat(pid, proc)) is not None:
            parents[pid] = stat.parent
    own = [pid for pid, parent in parents.items() if parent == engine_pid]
    services = [pid for pid, parent in parents.items() if _command(parent, proc) != _ENGINE]
    return own or services or [engine_pid]


def _floor(pid: int, proc: str) -> int | None:
    own = read_text(f"{proc}/{pid}/oom_score_adj")
    ids = read_text(f"{proc}/{pid}/uid_map")
    try:
        identity = read_identity(pid, proc)
    except NotFound:
        return None
    capable = bool(identity.bounding >> CAP_SYS_RESOURCE & 1) and (ids or "").split() == _EVERY_ID
    if capable:
        return LEAST_SCORE
    return int(own) if own else None


def _command(pid: int, proc: str) -> str:
    return (read_text(f"{proc}/{pid}/comm") or "").rstrip("\n")
