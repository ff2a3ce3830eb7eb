"""One reading of all that a cgroup uses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from criwist.interfaces.kernel import CgroupUsage
from criwist.kernel.cgroup.counters import counter, read_bytes
from criwist.kernel.cgroup.cpu_stats import read_cpu_time
from criwist.kernel.cgroup.memory_stats import read_memory
from criwist.kernel.cgroup.paths import Cgroup
from criwist.kernel.cgroup.pressure import read_pressure


def read_usage(
    cgroup: Cgroup, rate: Callable[[int], int | None], now: Callable[[], int] = time.time_ns
) -> CgroupUsage | None:
    """Read the usage of a cgroup; None if the cgroup is gone, or was removed during the reading.

    :param rate: returns ``nano_cores`` for a CPU time that was read just now.
    """
    cpu_timestamp, cpu = now(), read_cpu_time(cgroup)
    nano_cores = None if cpu is None else rate(cpu)
    timestamp, memory = now(), read_memory(cgroup)
    tasks = counter(read_bytes(cgroup.directory("pids"), "pids.current"))
    usage = CgroupUsage(
        cpu_timestamp=cpu_timestamp,
        timestamp=timestamp,
        cpu=cpu,
        nano_cores=nano_cores,
        memory=memory.usage,
        working_set=memory.working_set,
        rss=memory.rss,
        memory_limit=memory.limit,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
        swap=memory.swap,
        swap_limit=memory.swap_limit,
        tasks=tasks,
        cpu_pressure=read_pressure(cgroup, "cpu"),
        memory_pressure=read_pressure(cgroup, "memory"),
        io_pressure=read_pressure(cgroup, "io"),
    )
    complete = cpu is not None and memory.working_set is not None and tasks is not None
    # A cgroup is removed in one hierarchy after the other; a complete reading needs a look at the last one only.  The
    # file that is read last, where there is one, was that look.
    if complete and usage.io_pressure is not None:
        return usage
    last = cgroup.v2 or cgroup.directory("pids")
    directories = [last] if complete else cgroup.directories()
    return usage if directories and all(map(os.path.isdir, directories)) else None
