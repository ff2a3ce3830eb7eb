"""What the kernel can report about cgroups, found out before there is any container.

A kubelet reads the descriptors of metrics once, when it starts, and there may be no container yet.  So the files are
looked for in cgroups that every machine has: those of the root and of some cgroups below it.  The root lacks some files
of the cgroups below (``memory.peak``), and a cgroup has those of its controllers only.  If no cgroup that was looked at
has a controller which the machine has, the feature is offered: the engine switches controllers on for its containers.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping

from attrs import define, field

from criwist.kernel.cgroup.io_stats import read_v1
from criwist.kernel.cgroup.paths import Hierarchy, hierarchies
from criwist.kernel.mountinfo import parse_mountinfo
from criwist.kernel.procfs import PROC, read_text

#: Cgroups that are looked at in each hierarchy.
_MOST_CGROUPS = 64
_DEPTH = 3

#: Feature to controller and file of cgroup v1.
_V1: Mapping[str, tuple[str, str]] = {
    "cpu": ("cpuacct", r"cpuacct\.usage"),
    "cpu.modes": ("cpuacct", r"cpuacct\.stat"),
    "cpu.quota": ("cpu", r"cpu\.cfs_quota_us"),
    "cpu.shares": ("cpu", r"cpu\.shares"),
    "memory": ("memory", r"memory\.usage_in_bytes"),
    "memory.kernel": ("memory", r"memory\.kmem\.usage_in_bytes"),
    "memory.peak": ("memory", r"memory\.max_usage_in_bytes"),
    "memory.reservation": ("memory", r"memory\.soft_limit_in_bytes"),
    "oom": ("memory", r"memory\.oom_control"),
    "swap": ("memory", r"memory\.memsw\.limit_in_bytes"),
    "pids": ("pids", r"pids\.max"),
    "hugetlb": ("hugetlb", r"hugetlb\.[^.]+\.usage_in_bytes"),
    "hugetlb.peak": ("hugetlb", r"hugetlb\.[^.]+\.max_usage_in_bytes"),
}
#: The same of v2; ``""``: every cgroup has the file.
_V2: Mapping[str, tuple[str, str]] = {
    "cpu": ("", r"cpu\.stat"),
    "cpu.modes": ("", r"cpu\.stat"),
    "cpu.quota": ("cpu", r"cpu\.max"),
    "cpu.shares": ("cpu", r"cpu\.weight"),
    "memory": ("memory", r"memory\.current"),
    "memory.kernel": ("memory", r"memory\.current"),
    "memory.peak": ("memory", r"memory\.peak"),
    "memory.reservation": ("memory", r"memory\.low"),
    "oom": ("memory", r"memory\.events"),
    "swap": ("memory", r"memory\.swap\.current"),
    "io": ("io", r"io\.stat"),
    "pids": ("pids", r"pids\.max"),
    "hugetlb": ("hugetlb", r"hugetlb\.[^.]+\.current"),
}
FEATURES = frozenset((*_V1, *_V2)) | {f"pressure.{name}" for name in ("cpu", "cpu.full", "memory", "io")}


@define
class _Found:
    """The files and controllers of the cgroups of one hierarchy that were looked at."""

    #: Controllers of the hierarchy.
    available: set[str]
    files: set[str] = field(factory=set)
    #: Controllers of the cgroups below the root.
    seen: set[str] = field(factory=set)

    def offers(self, controller: str, file: str) -> bool:
        """Return whether a container's cgroup has the file, as far as can be known."""
        if controller and controller not in self.available:
            return False
        pattern = re.compile(file)
        return any(map(pattern.fullmatch, self.files)) or bool(controller and controller not in self.seen)


def read_features(proc: str = PROC) -> frozenset[str]:
    """Return those of :data:`FEATURES` that this machine offers.  It reads some tens of directories of the kernel."""
    mounted = hierarchies(parse_mountinfo(read_text(f"{proc}/self/mountinfo") or ""))
    v1 = {
        name: hierarchy.mount_point
        for hierarchy in mounted
        for name in hierarchy.controllers
        if not name.startswith("name=")
    }
    v2 = next((hierarchy for hierarchy in mounted if not hierarchy.controllers), None)
    unified = None if v2 is None else _look(v2)
    found = {feature for feature, place in _V1.items() if _offered_by_v1(v1, *place)}
    if "blkio" in v1 and read_v1(v1["blkio"]):  # the root has all devices, if the kernel accounts at all
        found.add("io")
    if not v1 and unified is not None:
        found = {feature for feature, place in _V2.items() if unified.offers(*place)}
    return frozenset(found | (_pressure(unified, proc) if unified is not None else set()))


def _offered_by_v1(mount_points: Mapping[str, str], controller: str, file: str) -> bool:
    if controller not in mount_points:
        return False
    pattern = re.compile(file)
    return any(pattern.fullmatch(name) for above in _cgroups(mount_points[controller]) for name in _names(above))


def _pressure(unified: _Found, proc: str) -> set[str]:
    found = set()
    for resource in ("cpu", "memory", "io"):
        text = read_text_or_nothing(f"{proc}/pressure/{resource}")
        if "some " in text and f"{resource}.pressure" in unified.files:
            found.add(f"pressure.{resource}")
            if resource == "cpu" and "full " in text:  # Linux 5.13
                found.add("pressure.cpu.full")
    return found


def read_text_or_nothing(path: str) -> str:
    """Return the file's text, empty if it cannot be read: a kernel with ``psi=0`` refuses it."""
    try:
        return read_text(path) or ""
    except OSError:
        return ""


def _look(hierarchy: Hierarchy) -> _Found:
    root = hierarchy.mount_point
    found = _Found(set(read_text_or_nothing(f"{root}/cgroup.controllers").split()))
    for directory in _cgroups(root):
        found.files.update(_names(directory))
        if directory != root:
            found.seen.update(read_text_or_nothing(f"{directory}/cgroup.controllers").split())
    return found


def _cgroups(root: str) -> Iterator[str]:
    """Yield the root and some cgroups below, the ones near the root first."""
    return itertools.islice(_breadth_first(root), _MOST_CGROUPS)


def _breadth_first(root: str) -> Iterator[str]:
    level = [root]
    for _ in range(_DEPTH):
        below: list[str] = []
        for directory in level:
            yield directory
            with_types = _scan(directory)
            below.extend(f"{directory}/{name}" for name, is_directory in with_types if is_directory)
        level = below


def _scan(directory: str) -> list[tuple[str, bool]]:
    try:
        with os.scandir(directory) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return []


def _names(directory: str) -> list[str]:
    return [name for name, is_directory in _scan(directory) if not is_directory]
