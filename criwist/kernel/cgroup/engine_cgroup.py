"""The engine's processes in a cgroup of their own, for ``--runtime-cgroups``.

A kubelet accounts for the runtime by a cgroup (its ``--runtime-cgroups``); dockershim and cri-dockerd moved dockerd
and containerd there.  They also capped its memory at 70 % of the machine's, unasked, which is not done here.  The
containers stay where they are: only the two daemons are moved, and what they start later inherits it unless it is
put elsewhere, as containers are.
"""

from __future__ import annotations

import os

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.paths import hierarchies
from criwist.kernel.mountinfo import parse_mountinfo
from criwist.kernel.oom_score_floor import containerds, engine_pid
from criwist.kernel.procfs import PROC, read_text


def move_engine(docker_endpoint: str, cgroup: str, proc: str = PROC) -> list[int]:
    """Move dockerd and its containerd into *cgroup* of every hierarchy, which is made.  Idempotent.

    :param cgroup: a path from the root of the hierarchies.
    :returns: the processes moved; empty if the engine is on another machine, or away.
    :raises FailedPrecondition: a cgroup cannot be made, or refuses a process.
    """
    engine = engine_pid(docker_endpoint, proc)
    if engine is None:
        return []
    processes = [engine, *containerds(engine, proc)]
    for hierarchy in hierarchies(parse_mountinfo(read_text(f"{proc}/self/mountinfo") or "")):
        directory = hierarchy.directory("/" + cgroup.strip("/"))
        if directory is not None:
            _enter(directory, processes)
    return processes


def _enter(directory: str, processes: list[int]) -> None:
    try:
        os.makedirs(directory, exist_ok=True)
        _inherit_cpuset(directory)
        for pid in processes:
            with open(os.path.join(directory, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
    except ProcessLookupError:
        return  # it has ended since
    except OSError as error:
        raise FailedPrecondition(
            f"--runtime-cgroups: the engine cannot be moved to {directory}: {error.strerror}"
        ) from error


def _inherit_cpuset(directory: str) -> None:
    """A new cpuset of cgroup v1 has neither CPUs nor memory nodes, and takes no process until it has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path, above = os.path.join(directory, name), os.path.join(os.path.dirname(directory), name)
        if read_text(path) == "\n" and (inherited := read_text(above)):
            with open(path, "w", encoding="ascii") as file:
                file.write(inherited)
