"""Memory of a cgroup.

The working set is the usage without inactive page cache, which the kernel can take back at once: kubelet's definition.
All values include cgroups below, which in version 1's ``memory.stat`` are the keys that begin with ``total_``.  Limits
are the cgroup's own; a limit of a cgroup above is not the container's.
"""

from __future__ import annotations

from attrs import frozen

from criwist.kernel.cgroup.counters import counter, counters, read_bytes
from criwist.kernel.cgroup.paths import Cgroup

#: Without a limit version 1 shows the largest multiple of the page size below 2**63; no machine has half of that.
_UNLIMITED = 1 << 62

_V1 = {
    b"total_inactive_file": "inactive_file",
    b"total_rss": "rss",
    b"total_pgfault": "page_faults",
    b"total_pgmajfault": "major_page_faults",
    b"total_swap": "swap",
}
_V2 = {
    b"inactive_file": "inactive_file",
    b"anon": "rss",
    b"pgfault": "page_faults",
    b"pgmajfault": "major_page_faults",
}


@frozen
class MemoryStats:
    """Bytes and counts; None: the kernel does not report them, or there is no limit."""

    usage: int | None = None
    inactive_file: int | None = None
    rss: int | None = None
    page_faults: int | None = None
    major_page_faults: int | None = None
    limit: int | None = None
    swap: int | None = None
    swap_limit: int | None = None

    @property
    def working_set(self) -> int | None:
        """The usage without inactive page cache, 0 at least: the two are not read at the same moment."""
        if self.usage is None or self.inactive_file is None:
            return None
        return max(0, self.usage - self.inactive_file)


def read_memory(cgroup: Cgroup) -> MemoryStats:
    """Return the present usage; empty without the memory controller."""
    directory = cgroup.directory("memory")
    return _read_v1(directory) if cgroup.version == 1 else _read_v2(directory)


def _read_v1(directory: str) -> MemoryStats:
    limit = _limit(read_bytes(directory, "memory.limit_in_bytes"))
    with_swap = None if limit is None else _limit(read_bytes(directory, "memory.memsw.limit_in_bytes"))
    return MemoryStats(
        usage=counter(read_bytes(directory, "memory.usage_in_bytes")),
        limit=limit,
        swap_limit=None if limit is None or with_swap is None else max(0, with_swap - limit),
        **parse_memory_stat(read_bytes(directory, "memory.stat"), version=1),
    )


def _read_v2(directory: str) -> MemoryStats:
    return MemoryStats(
        usage=counter(read_bytes(directory, "memory.current")),
        limit=counter(read_bytes(directory, "memory.max")),
        swap=counter(read_bytes(directory, "memory.swap.current")),
        swap_limit=counter(read_bytes(directory, "memory.swap.max")),
        **parse_memory_stat(read_bytes(directory, "memory.stat"), version=2),
    )


def parse_memory_stat(text: bytes | None, *, version: int) -> dict[str, int]:
    """Return members of :class:`MemoryStats` in a ``memory.stat`` of this version of cgroups."""
    names = _V1 if version == 1 else _V2
    return {names[key]: value for key, value in counters(text, names).items()}


def _limit(text: bytes | None) -> int | None:
    value = counter(text)
    return value if value is not None and value < _UNLIMITED else None
