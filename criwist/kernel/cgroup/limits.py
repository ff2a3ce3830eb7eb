"""The limits of a cgroup as one value, in the units of cgroup v1 and of the CRI, on every host."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

from attrs import field, frozen


@frozen
class Limits:
    """The limits of one cgroup; those of its parents may be lower.

    None: there is no limit, or the kernel has no such file.
    """

    #: Microseconds.
    cpu_period: int | None = None
    #: Microseconds of CPU in each period.
    cpu_quota: int | None = None
    #: 2 to 262144; 1024 by default.
    cpu_shares: int | None = None
    #: A list like ``0-2,7``; by default a copy of the parent's on v1, ``""`` on v2.
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    #: Bytes.
    memory: int | None = None
    #: Bytes of memory and swap together.
    memory_and_swap: int | None = None
    pids: int | None = None
    #: Page size, ``2MB``, to bytes.
    hugepages: Mapping[str, int] = field(factory=dict)


#: The file does not exist; the cgroup was removed while the file was open; the controller is off for this cgroup.
_ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP})


def read_value(directory: str, name: str) -> str:
    """Return the file's text without the newline, ``""`` if the kernel does not have it or the cgroup is gone."""
    if not directory:
        return ""
    try:
        with open(os.path.join(directory, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return ""


def read_hugepages(directory: str, suffix: str) -> dict[str, str]:
    """Return page size to the text of ``hugetlb.<page size><suffix>``."""
    try:
        names = os.listdir(directory) if directory else []
    except FileNotFoundError:
        names = []
    pattern = re.compile(rf"hugetlb\.([^.]+){re.escape(suffix)}")
    sizes = sorted(match[1] for name in names if (match := pattern.fullmatch(name)))
    return {size: read_value(directory, f"hugetlb.{size}{suffix}") for size in sizes}
