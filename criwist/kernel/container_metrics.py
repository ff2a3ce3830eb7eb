"""Metrics of running containers: the provider of ``IContainerMetrics``.

The cgroups are those that :class:`.Usage` has found; see there for how a process is recognized.
"""

from __future__ import annotations

import os

from attrs import define, evolve
from zope.interface import implementer

from criwist.interfaces.kernel_metrics import (
    CgroupMetrics,
    FilesystemMetrics,
    IContainerMetrics,
    ProcessMetrics,
)
from criwist.kernel.block_devices import SYS, device_name
from criwist.kernel.cgroup.metrics import read_metrics
from criwist.kernel.metric_features import read_features
from criwist.kernel.process_metrics import read_processes
from criwist.kernel.procfs import PROC
from criwist.kernel.usage import Usage


@implementer(IContainerMetrics)
@define(eq=False)
class ContainerMetrics:
    """Reads metrics of this host's containers.

    :param usage: knows their cgroups.
    :param proc: the directory at which ``/proc`` of the host is mounted.
    :param sys: the same for ``/sys``.
    """

    _usage: Usage
    _proc: str = PROC
    _sys: str = SYS

    def offered(self) -> frozenset[str]:
        return read_features(self._proc)

    def container(self, pid: int, container_id: str, cpu_shares: int) -> CgroupMetrics | None:
        cgroup = self._usage.cgroup(pid, container_id)
        return None if cgroup is None else read_metrics(cgroup, cpu_shares, self._device_name)

    def processes(self, pid: int, container_id: str) -> ProcessMetrics | None:
        cgroup = self._usage.cgroup(pid, container_id)
        if cgroup is None:
            return None
        directory = cgroup.directory("pids") or cgroup.v2 or next(iter(cgroup.directories()))
        return read_processes(pid, container_id, directory, self._proc)

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupMetrics | None:
        cgroup = self._usage.parent_cgroup(pid, container_id, cgroup_parent)
        if cgroup is None:
            return None
        metrics = read_metrics(cgroup, 0, self._device_name)
        return metrics if cgroup.version == 2 else evolve(metrics, oom_kills=None)

    def filesystem(self, directory: str) -> FilesystemMetrics | None:
        try:
            status, number = os.statvfs(directory), os.stat(directory).st_dev
        except OSError:
            return None
        return FilesystemMetrics(
            self._device_name(os.major(number), os.minor(number)),
            status.f_blocks * status.f_frsize,
            status.f_files,
            status.f_ffree,
        )

    def _device_name(self, major: int, minor: int) -> str:
        return device_name(major, minor, self._sys)
