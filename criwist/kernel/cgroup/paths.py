"""Directories of a container's cgroup, on hosts with cgroup v1, v2 or both.

``/proc/<pid>/cgroup`` has one path per hierarchy, ``mountinfo`` the mount point of each hierarchy.  A line
``4:memory:/docker/ID`` belongs to the v1 hierarchy with the controller ``memory``; the line ``0::/docker/ID`` to the v2
hierarchy, which exists beside v1 hierarchies on hybrid hosts, without useful controllers.  A container runs under v1
if any of its resource controllers does; this is runc's rule too, which never mixes the two.

A container may move its processes into its own cgroups below the one that the engine created (systemd does).  Limits
and keys belong to the engine's cgroup, so a path is cut behind the component that contains the container's id:
``<id>`` with the cgroupfs driver, ``docker-<id>.scope`` with systemd's.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

from attrs import field, frozen

from criwist.errors import NotFound
from criwist.kernel.mountinfo import Mount, parse_mountinfo
from criwist.kernel.procfs import PROC, read_text


@frozen
class Cgroup:
    """The directories of one process's cgroup; only hierarchies that are mounted count."""

    #: Controller, or ``name=systemd``, to directory.
    v1: Mapping[str, str] = field(factory=dict)
    #: Directory in the v2 hierarchy, ``""`` if it is not mounted.
    v2: str = ""
    #: 1 if any resource controller is in a v1 hierarchy, else 2.
    version: int = field(init=False)

    @version.default
    def _version(self) -> int:
        return 1 if any(not name.startswith("name=") for name in self.v1) else 2

    def directory(self, controller: str) -> str:
        """Return the directory of the controller's files, ``""`` if there is none."""
        return self.v1.get(controller, "") if self.version == 1 else self.v2

    def directories(self) -> list[str]:
        """Return every directory once: several v1 controllers may share one."""
        return sorted({*self.v1.values(), self.v2} - {""})

    def above(self) -> Cgroup:
        """Return the cgroup that this one is in."""
        return Cgroup({name: os.path.dirname(path) for name, path in self.v1.items()}, os.path.dirname(self.v2))


@frozen
class Hierarchy:
    """A mounted cgroup hierarchy."""

    mount_point: str
    #: Path of the cgroup that is visible at the mount point; not ``/`` inside containers.
    root: str
    #: v1 controllers and ``name=``; empty for v2.
    controllers: frozenset[str]

    def directory(self, path: str) -> str | None:
        """Return the directory of the cgroup *path*, None if it is outside of the mount."""
        if self.root == "/":
            return os.path.join(self.mount_point, path.lstrip("/")).rstrip("/")
        if path == self.root or path.startswith(self.root + "/"):
            return self.mount_point + path[len(self.root) :]
        return None


def hierarchies(mounts: list[Mount]) -> list[Hierarchy]:
    """Return the cgroup hierarchies among these mounts, in mount order."""
    found = []
    for mount in mounts:
        if mount.type == "cgroup2":
            found.append(Hierarchy(mount.point, mount.root, frozenset()))
        elif mount.type == "cgroup":
            names = {
                name for name in mount.super_options if name not in _V1_FLAGS and not name.startswith("release_agent=")
            }
            found.append(Hierarchy(mount.point, mount.root, frozenset(names)))
    return found


#: Options of a v1 mount that are not controllers (cgroups(7), kernel/cgroup/cgroup-v1.c).
_V1_FLAGS = frozenset(
    {"rw", "ro", "none", "all", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "favordynmods"}
)


def locate(membership: str, mounted: list[Hierarchy], container: str = "") -> Cgroup:
    """Return the cgroup of a ``/proc/<pid>/cgroup`` text.

    :param container: the 64-digit id; paths that contain it are cut behind it.
    """
    v1: dict[str, str] = {}
    v2 = ""
    for line in membership.splitlines():
        _, names, path = line.split(":", 2)
        path = _cut_behind(path, container)
        controllers = frozenset(names.split(",")) - {""}
        for hierarchy in mounted:
            if bool(controllers) != bool(hierarchy.controllers) or not controllers <= hierarchy.controllers:
                continue
            directory = hierarchy.directory(path)
            if directory is None:
                continue
            if controllers:
                v1 = dict.fromkeys(controllers, directory) | v1
            else:
                v2 = v2 or directory
    return Cgroup(v1, v2)


def _cut_behind(path: str, container: str) -> str:
    if not container or container not in path:
        return path
    head, _, tail = path.partition(container)
    return head + container + tail.partition("/")[0]


def process_cgroup(pid: int, container: str = "", proc: str = PROC) -> Cgroup:
    """Return the cgroup of a process of the host.

    A process that exits leaves its v1 cgroups for the root, whose limits are not the container's and must not be
    written; in the v2 hierarchy it keeps its place.  So with *container* only directories with its id count.

    :param container: see :func:`locate`.
    :raises NotFound: the process is gone, or is not one of the container's.
    """
    membership = read_text(f"{proc}/{pid}/cgroup")
    if not membership:
        raise NotFound("process", str(pid), "its cgroup cannot be read")
    found = locate(membership, _mounted_hierarchies(proc), container)
    return _own(found, container, pid) if container else found


def _own(found: Cgroup, container: str, pid: int) -> Cgroup:
    own = Cgroup(
        {name: directory for name, directory in found.v1.items() if container in os.path.basename(directory)},
        found.v2 if container in os.path.basename(found.v2) else "",
    )
    if own.version != found.version or not own.directories():
        raise NotFound("process", str(pid), "it is not in the cgroup of its container")
    return own


@functools.cache
def _mounted_hierarchies(proc: str) -> list[Hierarchy]:
    """Return the hierarchies; read once: a node's cgroup mounts do not change, and mountinfo grows with containers."""
    return hierarchies(parse_mountinfo(read_text(f"{proc}/self/mountinfo") or ""))


def belongs_to(pid: int, container: str, proc: str = PROC) -> bool:
    """Return whether the path of one of the process's cgroups contains the container's id."""
    return container in (read_text(f"{proc}/{pid}/cgroup") or "")


def processes_below(directory: str) -> set[int] | None:
    """Return the pids in the cgroup and those below it, None if they cannot be read (a threaded v2 cgroup)."""
    found: set[int] = set()
    for parent, _, _ in os.walk(directory):
        try:
            with open(os.path.join(parent, "cgroup.procs"), encoding="ascii") as file:
                found.update(map(int, file.read().split()))
        except FileNotFoundError:  # removed during the walk
            continue
        except OSError:
            return None
    return found
