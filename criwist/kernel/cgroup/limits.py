"""Values of a cgroup's files, of both versions."""

from __future__ import annotations

import errno
import os
import re

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
