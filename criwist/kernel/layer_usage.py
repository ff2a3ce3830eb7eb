"""Measures the writable layers of containers: the provider of ``ILayerUsage``.

With the graph driver ``overlay2`` the engine names a layer's directory.  With the containerd image store it does not;
then the engine mounts the container's root file system at a directory whose name is the container's id, and the mount
names the upper directory.  The mount is looked up among this process's mounts: in the container's own ones, which a
privileged container can change, it could name any directory of the host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event

from attrs import define, field
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from criwist.interfaces.kernel import ILayerUsage, LayerUsage
from criwist.kernel.disk_usage import Stopped, disk_usage
from criwist.kernel.mountinfo import parse_mountinfo
from criwist.kernel.procfs import PROC, read_text
from criwist.threads import run_to_its_end

_UPPER = "upperdir="


@implementer(ILayerUsage)
@define(eq=False)
class LayerMeasurements:
    """Measures in *threadpool*."""

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _proc: str = PROC
    _now: Callable[[], int] = time.time_ns
    _stopped: Event = field(factory=Event, init=False)

    async def measure(self, container_id: str, directory: str) -> LayerUsage | None:
        return await run_to_its_end(self._reactor, self._threadpool, self._measure, container_id, directory)

    def stop(self) -> None:
        self._stopped.set()

    def _measure(self, container_id: str, directory: str) -> LayerUsage | None:
        directory = directory or upper_directory(read_text(f"{self._proc}/self/mountinfo") or "", container_id)
        if not directory or self._stopped.is_set():
            return None
        try:
            usage = disk_usage(directory, self._stopped.wait)
        except (OSError, Stopped):
            return None
        return LayerUsage(self._now(), usage.used_bytes, usage.inodes)


def upper_directory(mountinfo: str, container_id: str) -> str:
    """Return the upper directory of the overlay mounted at a directory named after the container; ``""``: none."""
    named = "\n".join(line for line in mountinfo.split("\n") if container_id in line)  # of hundreds of lines
    for mount in parse_mountinfo(named):
        if mount.type == "overlay" and os.path.basename(mount.point) == container_id:
            for option in mount.super_options:
                if option.startswith(_UPPER):
                    return option.removeprefix(_UPPER)
    return ""
