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


@frozen
class PressureShare:
    """One line of a pressure file: the time that tasks lost waiting for a resource."""

    #: Nanoseconds since the cgroup was created.
    total: int
    #: Per cent of the last 10, 60 and 300 seconds.
    avg10: float
    avg60: float
    avg300: float


@frozen
class Pressure:
    """Pressure stall information of one resource (Documentation/accounting/psi.rst)."""

    #: At least one task waited.
    some: PressureShare | None = None
    #: All tasks waited.
    full: PressureShare | None = None


@frozen
class CgroupUsage:
    """The resources that one cgroup uses, those below it included.

    None: the kernel has no such file, or its controller is off.  Times are nanoseconds, timestamps nanoseconds since
    the epoch, sizes bytes.
    """

    #: When the CPU time was read.
    cpu_timestamp: int
    #: When the other values were read.
    timestamp: int
    #: CPU time since the cgroup was created, on all CPUs together.
    cpu: int | None = None
    #: CPUs in use times 10^9, between this reading and an earlier one; None in the first reading.
    nano_cores: int | None = None
    #: Page cache included.
    memory: int | None = None
    #: Memory without inactive page cache.
    working_set: int | None = None
    #: Anonymous memory.
    rss: int | None = None
    #: The cgroup's own limit; None: there is none.
    memory_limit: int | None = None
    page_faults: int | None = None
    major_page_faults: int | None = None
    swap: int | None = None
    #: The cgroup's own limit of swap alone; None: there is none.
    swap_limit: int | None = None
    #: Tasks, that is processes and their threads, as ``pids.max`` counts them.
    tasks: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


@frozen
class InterfaceUsage:
    """The traffic of a network interface since it was created."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int
    rx_packets: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_dropped: int = 0


@frozen
class NetworkUsage:
    """The traffic of a network namespace; the loopback interface is left out."""

    #: Nanoseconds since the epoch.
    timestamp: int
    #: The interface of the default route; without a route ``eth0``, or the first one.
    default: InterfaceUsage
    others: tuple[InterfaceUsage, ...] = ()


@frozen
class LayerUsage:
    """The disk space of a container's writable layer."""

    #: Nanoseconds since the epoch.
    timestamp: int
    #: Allocated bytes, each inode counted once.
    used_bytes: int
    inodes: int


class IUsage(Interface):
    """What running containers use, read from cgroup files and ``/proc``.  Called in any thread.

    A process is named as in :class:`IContainerProcesses`.  The cgroup of a process is found once and kept in memory, so
    a reading costs a few short files.  It waits for no disk.
    """

    def container(pid: int, container_id: str) -> CgroupUsage | None:
        """Return the usage of the container's cgroup.

        None: the container ended, also during the reading, or the engine is on another machine.
        """

    def parent(pid: int, container_id: str, cgroup_parent: str) -> CgroupUsage | None:
        """Return the usage of the cgroup that the container's cgroup is in.

        :param cgroup_parent: ``HostConfig.CgroupParent``.  The result is None, too, if the path of the cgroup does not
            end with it.
        """

    def network(pid: int, container_id: str) -> NetworkUsage | None:
        """Return the traffic of the process's network namespace; None: the process ended, or it has no interface."""

    def forget(container_id: str) -> None:
        """Forget the container's cgroup and its last readings.  Idempotent."""


class ILayerUsage(Interface):
    """Measures writable layers.  Called on the reactor's thread."""

    async def measure(container_id: str, directory: str) -> LayerUsage | None:
        """Walk the files of a container's writable layer in a thread of the pool.

        The walk is slowed down to a fixed share of the time, follows no links and stays on its file system.

        :param directory: overlay2's upper directory; ``""``: the engine names none, and the one of the container's
            overlay mount is measured.
        :returns: None if there is no such directory here, or :meth:`stop` was called.
        """

    def stop() -> None:
        """End a walk in progress, and all later ones.  Idempotent."""
