"""Usage of running containers: the provider of ``IUsage``.

The engine reports the pid of a container's first process.  The process's cgroup is accepted only where the last part of
its path carries the container's id; a container with rights over the hierarchy can move its processes elsewhere, and
on another machine than the engine's the pid belongs to a stranger.  The directories are kept in memory for that pid.
They carry the container's id, so a later process with the same pid cannot change whose figures they are; for the
network namespace, which is found by the pid alone, the process's start time is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from attrs import define, field, frozen
from zope.interface import implementer

from criwist.errors import NotFound
from criwist.interfaces.kernel import CgroupUsage, IUsage, NetworkUsage
from criwist.kernel.cgroup.paths import Cgroup, process_cgroup
from criwist.kernel.cgroup.usage import read_usage
from criwist.kernel.cpu_rate import CpuRate
from criwist.kernel.net_dev import default_first, ipv4_default, ipv6_default, parse_interfaces
from criwist.kernel.procfs import PROC, ProcessStat, read_stat, read_text


@frozen
class _Place:
    """Where a running container's figures are."""

    process: ProcessStat
    cgroup: Cgroup
    rate: CpuRate = field(factory=CpuRate)
    #: The cgroup above, the pod's.
    parent: Cgroup = field(init=False)
    parent_rate: CpuRate = field(factory=CpuRate)

    @parent.default
    def _parent(self) -> Cgroup:
        return self.cgroup.above()


@implementer(IUsage)
@define(eq=False)
class Usage:
    """Reads the usage of this host's containers.

    :param proc: the directory at which ``/proc`` of the host is mounted.
    """

    _proc: str = PROC
    _now: Callable[[], int] = time.time_ns
    _monotonic: Callable[[], float] = time.monotonic
    #: By container.
    _places: dict[str, _Place] = field(factory=dict, init=False)
    #: Held while ``_places`` or a rate changes, never while a file is read.
    _lock: Lock = field(factory=Lock, init=False)

    def container(self, pid: int, container_id: str) -> CgroupUsage | None:
        place = self._place(pid, container_id)
        return None if place is None else self._read(place.cgroup, place.rate)

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupUsage | None:
        place = self._place(pid, container_id)
        above = _above(place, cgroup_parent)
        return None if place is None or above is None else self._read(above, place.parent_rate)

    def cgroup(self, pid: int, container_id: str) -> Cgroup | None:
        """Return the container's cgroup; None as for :meth:`container`."""
        place = self._place(pid, container_id)
        return None if place is None else place.cgroup

    def parent_cgroup(self, pid: int, container_id: str, cgroup_parent: str) -> Cgroup | None:
        """Return the cgroup that the container's cgroup is in; None as for :meth:`parent`."""
        return _above(self._place(pid, container_id), cgroup_parent)

    def network(self, pid: int, container_id: str) -> NetworkUsage | None:
        place = self._place(pid, container_id)
        if place is None:
            return None
        timestamp = self._now()
        devices = self._net(pid, "dev")
        default = ipv4_default(self._net(pid, "route")) or ipv6_default(self._net(pid, "ipv6_route"))
        if not place.process.same_process(read_stat(pid, self._proc)):
            return None
        interfaces = default_first(parse_interfaces(devices), default)
        return NetworkUsage(timestamp, interfaces[0], interfaces[1:]) if interfaces else None

    def forget(self, container_id: str) -> None:
        with self._lock:
            self._places.pop(container_id, None)

    def _net(self, pid: int, name: str) -> str:
        return read_text(f"{self._proc}/{pid}/net/{name}") or ""

    def _read(self, cgroup: Cgroup, rate: CpuRate) -> CgroupUsage | None:
        def update(cpu: int) -> int | None:
            with self._lock:
                return rate.update(self._monotonic(), cpu)

        return read_usage(cgroup, update, self._now)

    def _place(self, pid: int, container_id: str) -> _Place | None:
        place = self._places.get(container_id)
        if place is not None and place.process.pid == pid:
            return place
        found = _find(pid, container_id, self._proc)
        if found is None:
            return None
        with self._lock:
            place = self._places.get(container_id)
            if place is None or not place.process.same_process(found.process):
                place = self._places[container_id] = found
        return place


def _find(pid: int, container_id: str, proc: str) -> _Place | None:
    process = read_stat(pid, proc) if pid > 0 and container_id else None
    if process is None:
        return None
    try:
        cgroup = process_cgroup(pid, container_id, proc)
    except NotFound:
        return None
    return _Place(process, cgroup)


def _above(place: _Place | None, cgroup_parent: str) -> Cgroup | None:
    """Return the cgroup above, None unless its path ends with *cgroup_parent*."""
    ending = "/" + cgroup_parent.strip("/")
    if place is None or ending == "/":
        return None
    return place.parent if all(directory.endswith(ending) for directory in place.parent.directories()) else None
