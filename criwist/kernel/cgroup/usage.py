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


def read_usage(cgroup: Cgroup, now: Callable[[], int] = time.time_ns) -> CgroupUsage | None:
    """Read the usage of a cgroup; None if the cgroup is gone, or was removed during the reading.

    ``nano_cores`` is not set.
    """
    cpu_timestamp, cpu = now(), read_cpu_time(cgroup)
    timestamp, memory = now(), read_memory(cgroup)
    usage = CgroupUsage(
        cpu_timestamp=cpu_timestamp,
        timestamp=timestamp,
        cpu=cpu,
        memory=memory.usage,
        working_set=memory.working_set,
        rss=memory.rss,
        memory_limit=memory.limit,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
        swap=memory.swap,
        swap_limit=memory.swap_limit,
        tasks=counter(read_bytes(cgroup.directory("pids"), "pids.current")),
        cpu_pressure=read_pressure(cgroup, "cpu"),
        memory_pressure=read_pressure(cgroup, "memory"),
        io_pressure=read_pressure(cgroup, "io"),
    )
    return usage if all(map(os.path.isdir, cgroup.directories())) and cgroup.directories() else None
