"""The oom_score_adj of processes that run: read, and changed for a whole container (proc(5)).

Docker sets it at the start and has no call that changes it.  Each process has its own, inherited at its birth, so a
change is written to every process of the container's cgroup, until a look finds no process with another value.
"""

from __future__ import annotations

from criwist.errors import FailedPrecondition
from criwist.kernel.cgroup.paths import Cgroup, processes_below
from criwist.kernel.procfs import PROC, read_text

#: Looks at the cgroup's processes.  One that is forked between a look and the write to its parent inherits the old
#: value and is found by the next look; who forks faster than this is not followed for ever.
LOOKS = 10


def read_oom_score_adj(pid: int, proc: str = PROC) -> int | None:
    """The process's value, None if it is gone."""
    text = read_text(f"{proc}/{pid}/oom_score_adj")
    return int(text) if text else None


def write_oom_score_adj(cgroup: Cgroup, score: int, field: str = "linux.oom_score_adj", proc: str = PROC) -> None:
    """Give every process in *cgroup* and below it the value *score*.  Idempotent; a process that ends is no error.

    :param field: the request's field that asks, for errors.
    :raises FailedPrecondition: the kernel does not let us, or the processes cannot be told.
    """
    for _ in range(LOOKS):
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
