"""The kernel's figures that metrics have beside the usage of :mod:`criwist.interfaces.kernel`.

They are apart because metrics are read some times a minute and the usage more often: a kubelet's eviction and its
summary need none of these.  None: the kernel has no such file, or its controller is off.  Times are nanoseconds, sizes
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import Attribute, Interface, implementer


@frozen
class DeviceIO:
    """What a cgroup has read from and written to one block device."""

    major: int
    minor: int
    #: ``/dev/vda``; ``major:minor`` if the kernel has no name for it.
    device: str
    #: By the kernel's word: ``Read``, ``Write``, ``Discard``; on cgroup v1 ``Sync``, ``Async`` and ``Total`` too.
    transferred: Mapping[str, int] = field(factory=dict)
    #: Number of operations, by the same words.
    operations: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class CgroupMetrics:
    """The figures of one cgroup.  They include the cgroups below, except where cgroup v1 does not do that."""

    cpu_user: int | None = None
    cpu_system: int | None = None
    #: Periods of the CPU quota that have elapsed, and those in which the quota was used up.
    periods: int | None = None
    throttled_periods: int | None = None
    #: How long tasks were kept from running by the quota.
    throttled: int | None = None
    page_cache: int | None = None
    mapped_file: int | None = None
    kernel_memory: int | None = None
    #: The highest memory usage so far.
    memory_peak: int | None = None
    #: How often the usage reached the limit.
    memory_limit_hits: int | None = None
    #: Without cgroups below on cgroup v1; on v2 the kernel does not tell them apart.
    own_page_faults: int | None = None
    own_major_page_faults: int | None = None
    #: Processes that the kernel killed for want of memory; on cgroup v1 without cgroups below.
    oom_kills: int | None = None
    #: 0: no limit.
    tasks_max: int | None = None
    #: By page size: ``2MB``.
    huge_pages: Mapping[str, int] = field(factory=dict)
    huge_pages_peak: Mapping[str, int] = field(factory=dict)
    devices: tuple[DeviceIO, ...] = ()
    #: Microseconds.
    cpu_period: int | None = None
    #: Microseconds of CPU in each period; None: no limit.
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    #: 0: no limit.
    memory_limit: int | None = None
    memory_reservation: int | None = None
    #: As the kernel has it: of memory and swap together on cgroup v1, of swap alone on v2.  0: no limit.
    swap_limit: int | None = None


@frozen(kw_only=True)
class ProcessMetrics:
    """The processes of one container.  None: there are more than are counted, or they cannot be read."""

    processes: int | None = None
    #: Open file descriptors of all processes together.
    descriptors: int | None = None
    #: Those of them that are sockets.
    sockets: int | None = None
    #: The first process's limit of open files; -1: no limit.
    open_files_limit: int | None = None


@frozen
class FilesystemMetrics:
    """The file system that a directory is in."""

    #: ``/dev/vda``; ``major:minor`` if the kernel has no name for it.
    device: str
    size: int
    inodes: int
    free_inodes: int


class IContainerMetrics(Interface):
    """Reads metrics of running containers from cgroup files, ``/proc`` and ``/sys``.  Called in any thread.

    A process is named as in ``IContainerProcesses``.  One reading costs some tens of short files, and the processes of
    the container up to a bound.  It waits for no disk, except :meth:`filesystem`.
    """

    def offered() -> frozenset[str]:
        """Return the names of the features that the kernel can report (``criwist.kernel.metric_features``).

        It reads some tens of directories, some milliseconds; call it once.
        """

    def container(pid: int, container_id: str, cpu_shares: int) -> CgroupMetrics | None:
        """Return the metrics of the container's cgroup.

        None: the container ended, or the engine is on another machine.

        :param cpu_shares: the requested shares; cgroup v2 keeps a weight, and several shares have the same.
        """

    def processes(pid: int, container_id: str) -> ProcessMetrics | None:
        """Return figures of the container's processes; None as for :meth:`container`."""

    def parent(pid: int, container_id: str, cgroup_parent: str) -> CgroupMetrics | None:
        """Return the metrics of the cgroup that the container's cgroup is in; None as in ``IUsage.parent``.

        On cgroup v1 it has no ``oom_kills``: the kernel does not add those of the cgroups below.
        """

    def filesystem(directory: str) -> FilesystemMetrics | None:
        """Return figures of the file system at *directory*; None if it is not visible from here."""


class IOomKills(Interface):
    """The kernel's log of processes that it killed for want of memory.  Called on the reactor's thread."""

    available = Attribute("bool: the log can be read")

    def read() -> Sequence[str]:
        """Return the 64-digit ids of the containers with a kill since the last call, one for each kill, in order.

        The first call has those that are still in the log.  It reads memory of the kernel, and returns at once.
        """


@implementer(IOomKills)
class NoOomKills:
    """A node whose kernel's log cannot be read."""

    available = False

    def read(self) -> Sequence[str]:
        return ()


NO_OOM_KILLS = NoOomKills()
