"""``--runtime-cgroups``: a cgroup for the engine's processes.

kubelet accounts for the runtime by a cgroup (its own ``--runtime-cgroups``); dockershim and cri-dockerd moved dockerd
and containerd there.  They also limited its memory to 70 % of the machine's, without an option for it; criwist does
not.  Only the two daemons are moved.  Their later children inherit the cgroup unless they are put elsewhere, as
containers are.
"""

from __future__ import annotations

import os

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.paths import hierarchies
from criwist.kernel.mountinfo import parse_mountinfo
from criwist.kernel.oom_score_floor import containerds, engine_pid
from criwist.kernel.procfs import PROC, read_text


def move_engine(docker_endpoint: str, cgroup: str, proc: str = PROC) -> list[int]:
    """Move dockerd and its containerd into *cgroup* of every hierarchy; create it if it is missing.  Idempotent.

    :param cgroup: a path from the root of the hierarchies.
    :returns: the pids of the moved processes; empty if the engine is on another machine, or does not run.
    :raises FailedPrecondition: a cgroup cannot be created, or refuses a process.
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
    """Copy the parent's cpuset: a new one of cgroup v1 has no CPUs and no memory nodes, and refuses every process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path, parent = os.path.join(directory, name), os.path.join(os.path.dirname(directory), name)
        if read_text(path) == "\n" and (inherited := read_text(parent)):
            with open(path, "w", encoding="ascii") as file:
                file.write(inherited)
