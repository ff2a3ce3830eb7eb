"""The kernel: processes, cgroups and mounts of the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from zope.interface import Interface

#: Environment variable whose value, unique to one exec, marks the exec's processes for :meth:`IProcesses.kill_tree`.
EXEC_MARKER = "CRIWIST_EXEC"


@frozen
class Limits:
    """The limits that the kernel enforces on one cgroup itself; its parents may enforce less.

    The units are those of cgroup v1 and of the CRI, whatever the host has.  None: there is no limit, or the kernel has
    no such file.
    """

    #: Microseconds.
    cpu_period: int | None = None
    #: Microseconds of CPU in each period.
    cpu_quota: int | None = None
    #: 2 to 262144; 1024 by default.
    cpu_shares: int | None = None
    #: A list like ``0-2,7``.  Without a limit, v1 copies the parent's; on v2 it is ``""``.
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    #: Bytes.
    memory: int | None = None
    #: Bytes of memory and swap together.
    memory_and_swap: int | None = None
    pids: int | None = None
    #: Page size, ``2MB``, to bytes.
    hugepages: Mapping[str, int] = field(factory=dict)


@frozen
class CgroupWrites:
    """Values to write to a running container's cgroup, for which the Engine API has no field."""

    #: File name of cgroup v2, ``memory.high``, to its text.
    unified: Mapping[str, str] = field(factory=dict)
    #: Page size, ``2MB``, to bytes.
    hugepages: Mapping[str, int] = field(factory=dict)
    #: Page sizes that kubelet knows and the pod does not request; the container gets none of them.  A host that cannot
    #: limit them is no error.
    no_hugepages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.unified or self.hugepages or self.no_hugepages)


@frozen(kw_only=True)
class ProcessFacts:
    """A running container's first process, as the kernel reports it."""

    #: Real ids, as they are inside the process's user namespace.
    uid: int
    gid: int
    groups: tuple[int, ...]
    limits: Limits
    #: File name of cgroup v2 to its text.
    unified: Mapping[str, str]
    oom_score_adj: int


class IProcesses(Interface):
    """Processes of the host, by the pids that the engine reports.  Called on the reactor's thread."""

    async def kill_tree(pid: int, container: str = "") -> int:
        """SIGKILL *pid* and all its descendants; return how many were signalled, 0 if it has ended.

        Descendants that were left to a reaper are included where they can be recognized, see :data:`EXEC_MARKER`.  The
        search runs in a thread of the pool.

        :param container: the 64-digit id.  A process whose cgroup does not carry it has got the number since, or lives
            on another host than the engine; it is not signalled, and the result is 0.
        """


class IContainerProcesses(Interface):
    """The first processes of running containers, with their cgroups.

    A process is named by the pid that the engine reports and by the container's 64-digit id.  All methods are called on
    the reactor's thread.  Those that are not coroutines read a few files and return at once.
    """

    def read(pid: int, container_id: str, *, cpu_shares: int, unified_keys: Collection[str]) -> ProcessFacts | None:
        """Return what the kernel reports; None if the process has ended, or the engine is on another machine.

        :param cpu_shares: the requested shares.  cgroup v2 keeps a weight; several shares have the same.
        :param unified_keys: file names that the result's ``unified`` has besides those that Kubernetes sets.
        """

    def cgroups(pid: int, container_id: str) -> Mapping[str, str]:
        """Return the cgroup's directories by controller, the unified one under ``""``; empty if it has ended."""

    def runtime_spec(pid: int, container_id: str) -> Mapping[str, Any] | None:
        """Return the OCI specification that the process was started by; None if it cannot be read here."""

    async def write_resources(pid: int, container_id: str, writes: CgroupWrites, path: str) -> None:
        """Write to the container's cgroup, in a thread of the pool; a process that has ended is no error.

        It may take long: lowering ``memory.max`` or ``memory.high`` reclaims pages first.

        :param path: the request's field that asks for *writes*, for errors.
        :raises InvalidArgument: the kernel rejects a value.
        :raises FailedPrecondition: the kernel or the cgroup does not have the file, or cannot do it now.
        """

    async def write_oom_score_adj(pid: int, container_id: str, score: int) -> None:
        """Set the oom_score_adj of all processes in the cgroup, in a thread of the pool.

        A process that has ended is no error.

        :raises FailedPrecondition: the kernel refuses it, or the processes cannot be listed.
        """


class ILayerMounts(Interface):
    """Read-only trees made of an image's layers.  Each has a place, ``<container name>/<number>``, and a label.

    All methods are called on the reactor's thread and work in threads of the pool.

    Errors: ``PermissionDenied`` (this process may not mount), ``FailedPrecondition`` (the kernel cannot, or a layer is
    not on this machine).
    """

    async def mount(place: str, layers: Sequence[str], label: str) -> None:
        """Mount *layers*, top layer first, at a place where nothing is mounted.

        The label outlives this process, see :meth:`mounted`.
        """

    async def unmount(place: str) -> None:
        """Unmount the tree; containers that have it keep it.  Idempotent."""

    async def resolve(place: str, sub_path: str) -> str:
        """Return the host path of a file in a mounted tree; ``""``: of the tree.  No link in the tree leads out of it.

        Not there: ``InvalidArgument`` (``image_sub_path``).
        """

    async def mounted() -> Mapping[str, str]:
        """Return place to label of every mounted tree, those of earlier processes of criwist included."""
