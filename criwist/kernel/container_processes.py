"""The first processes of running containers: the provider of ``IContainerProcesses``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from attrs import define
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from criwist.errors import NotFound
from criwist.interfaces.kernel import CgroupWrites, IContainerProcesses, ProcessFacts
from criwist.kernel.cgroup.paths import Cgroup, belongs_to, process_cgroup
from criwist.kernel.cgroup.resources import read_limits, read_unified, write_resources
from criwist.kernel.oci_bundle import runtime_spec
from criwist.kernel.oom_scores import read_oom_score_adj, write_oom_score_adj
from criwist.kernel.process_identity import read_identity
from criwist.kernel.procfs import PROC


@implementer(IContainerProcesses)
@define(eq=False)
class ContainerProcesses:
    """Processes of this host.  Writes are made in *threadpool*.

    :param proc: the directory at which ``/proc`` of the host is mounted.
    """

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _proc: str = PROC

    def read(
        self, pid: int, container_id: str, *, cpu_shares: int, unified_keys: Collection[str]
    ) -> ProcessFacts | None:
        if not belongs_to(pid, container_id, self._proc):
            return None
        try:
            identity = read_identity(pid, self._proc)
            cgroup = process_cgroup(pid, container_id, self._proc)
        except NotFound:
            return None  # it has ended since
        return ProcessFacts(
            uid=identity.uid,
            gid=identity.gid,
            groups=identity.groups,
            limits=read_limits(cgroup, cpu_shares),
            unified=read_unified(cgroup, unified_keys),
            oom_score_adj=read_oom_score_adj(pid, self._proc) or 0,
        )

    def cgroups(self, pid: int, container_id: str) -> Mapping[str, str]:
        cgroup = self._cgroup(pid, container_id)
        return {} if cgroup is None else dict(cgroup.v1) | ({"": cgroup.v2} if cgroup.v2 else {})

    def runtime_spec(self, pid: int, container_id: str) -> Mapping[str, Any] | None:
        return runtime_spec(pid, container_id, self._proc)

    async def write_resources(self, pid: int, container_id: str, writes: CgroupWrites, path: str) -> None:
        cgroup = self._cgroup(pid, container_id)
        if cgroup is not None:
            await deferToThreadPool(self._reactor, self._threadpool, write_resources, cgroup, writes, path)

    async def write_oom_score_adj(self, pid: int, container_id: str, score: int) -> None:
        cgroup = self._cgroup(pid, container_id)
        if cgroup is not None:
            await deferToThreadPool(
                self._reactor, self._threadpool, write_oom_score_adj, cgroup, score, proc=self._proc
            )

    def _cgroup(self, pid: int, container_id: str) -> Cgroup | None:
        try:
            return process_cgroup(pid, container_id, self._proc)
        except NotFound:
            return None
