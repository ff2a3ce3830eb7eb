"""The oom_score_adj of running processes: read it, and change it for a whole container (proc(5)).

Docker sets it at the start and has no call that changes it.  Each process has its own, which it inherits from its
parent.  So a change is written to every process of the container's cgroup, until no process has another value.
"""

from __future__ import annotations

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.paths import Cgroup, processes_below
from criwist.kernel.procfs import PROC, read_text

#: Passes over the cgroup's processes.  A process that is forked between the listing and the write to its parent
#: inherits the old value, and the next pass finds it; a container that forks faster than that is an error.
PASSES = 10


def read_oom_score_adj(pid: int, proc: str = PROC) -> int | None:
    """Return the process's value, None if it is gone."""
    text = read_text(f"{proc}/{pid}/oom_score_adj")
    return int(text) if text else None


def write_oom_score_adj(cgroup: Cgroup, score: int, field: str = "linux.oom_score_adj", proc: str = PROC) -> None:
    """Write the value *score* to every process in *cgroup* and below it.  Idempotent; skips processes that end.

    :param field: name of the request's field, for errors.
    :raises FailedPrecondition: the kernel refuses the value, or processes are forked faster than they are listed.
    """
    for _ in range(PASSES):
        processes = set().union(*(processes_below(directory) or set() for directory in cgroup.directories()))
        others = [pid for pid in processes if read_oom_score_adj(pid, proc) not in (score, None)]
        if not others:
            return
        for pid in others:
            _write(f"{proc}/{pid}/oom_score_adj", score, field)
    raise FailedPrecondition(f"{field}: processes are started faster than their oom_score_adj can be set")


def _write(path: str, score: int, field: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(score))
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended
    except OSError as error:
        raise FailedPrecondition(f"{field}: {score} cannot be written to {path}: {error.strerror}") from error
