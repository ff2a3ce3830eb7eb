"""ContainerStats, ListContainerStats, PodSandboxStats and ListPodSandboxStats.

Each call reads the kernel's files of the containers that it names, and asks the engine nothing.  What the snapshot
shows as running may have ended: a list leaves it out, and goes on.  The writable layer comes from the last measurement
(:class:`.WritableLayers`).

A pod's figures are those of its own cgroup, which kubelet makes and names as ``cgroup_parent``.  Without one of its
own, the figures of the pause container and of the other containers are summed.

The containers of an engine on another machine are listed with their attributes alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import define

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.filesystem import layers_directory
from criwist.core.state.cache import Cache, Entry
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.stats.writable_layers import WritableLayers
from criwist.interfaces.kernel import CgroupUsage, IUsage
from criwist.translate import stats
from criwist.translate.filters import container_filter, sandbox_filter
from criwist.wire.protobuf import message_field, repeated_field

_ATTRIBUTES = pb.ContainerStats.ATTRIBUTES_FIELD_NUMBER
_LINUX = pb.PodSandboxStats.LINUX_FIELD_NUMBER
_CONTAINERS = pb.LinuxPodSandboxStats.CONTAINERS_FIELD_NUMBER
#: Of ``stats`` in all four responses.
_STATS = pb.ContainerStatsResponse.STATS_FIELD_NUMBER


@define(eq=False)
class Stats:
    """Answers the four RPCs with serialized responses.  Its public methods may be called in any thread.

    They raise ``NotReady`` while the snapshot is not fresh.

    :param local: whether the engine runs on this machine; otherwise the kernel is not read.
    """

    _cache: Cache
    _engine: EngineProfile
    _usage: IUsage
    _layers: WritableLayers
    _local: bool

    def __attrs_post_init__(self) -> None:
        self._cache.subscribe(self._changed)

    def container(self, identifier: str) -> bytes:
        """Return a ContainerStatsResponse.

        A container that does not run has attributes, and its writable layer if it was measured.

        :raises NotFound: there is no such container.
        """
        entry = self._cache.current().container(identifier)
        message = self._container(entry, self._container_usage(entry), layers_directory(self._engine.facts))
        return message_field(_STATS, message)

    def containers(self, wanted: pb.ContainerStatsFilter) -> bytes:
        """Return a ListContainerStatsResponse of the running containers that pass the filter, newest first."""
        passes = container_filter(wanted)
        entries = [entry for entry in self._cache.current().newest_containers if passes(entry)]
        return repeated_field(_STATS, (message for _, message in self._running(entries)))

    def pod(self, identifier: str) -> bytes:
        """Return a PodSandboxStatsResponse.

        :raises NotFound: there is no such sandbox.
        """
        snapshot = self._cache.current()
        entry = snapshot.sandbox(identifier)
        exclusive = _exclusive_parents(snapshot.sandboxes.values())
        found = self._pod(entry, snapshot.containers_of(entry.id), exclusive)
        return message_field(_STATS, found or _pod_message(entry, pb.LinuxPodSandboxStats(), ()))

    def pods(self, wanted: pb.PodSandboxStatsFilter) -> bytes:
        """Return a ListPodSandboxStatsResponse of the pods that pass the filter and whose pause container runs."""
        snapshot, passes = self._cache.current(), sandbox_filter(wanted)
        exclusive = _exclusive_parents(snapshot.sandboxes.values())
        members: dict[str, list[ContainerEntry]] = {}
        for container in snapshot.newest_containers:
            members.setdefault(container.sandbox_id, []).append(container)
        found = [
            self._pod(entry, members.get(entry.id, ()), exclusive)
            for entry in snapshot.newest_sandboxes
            if entry.running and passes(entry)
        ]
        return repeated_field(_STATS, (message for message in found if message is not None))

    def _changed(self, before: Entry | None, after: Entry | None) -> None:
        """Forget the cgroup of a container that ended.  The reactor's thread."""
        if before is not None and (after is None or not after.running):
            self._usage.forget(before.id)

    def _container_usage(self, entry: Entry) -> CgroupUsage | None:
        return self._usage.container(entry.pid, entry.id) if self._local and entry.pid else None

    def _running(self, entries: Iterable[ContainerEntry]) -> list[tuple[CgroupUsage | None, bytes]]:
        """Return the usage and the message of each container that runs."""
        found, mountpoint = [], layers_directory(self._engine.facts)
        for entry in entries:
            if entry.running:
                usage = self._container_usage(entry)
                if usage is not None or not self._local:
                    found.append((usage, self._container(entry, usage, mountpoint)))
        return found

    def _container(self, entry: ContainerEntry, usage: CgroupUsage | None, mountpoint: str) -> bytes:
        message = stats.container_stats(usage, self._layers.of(entry.id), mountpoint)
        return message_field(_ATTRIBUTES, stats.container_attributes(entry.item)) + message.SerializeToString()

    def _pod(
        self, entry: SandboxEntry, containers: Iterable[ContainerEntry], exclusive: Collection[str]
    ) -> bytes | None:
        """Return the message of a pod; None if its pause container has ended."""
        running = self._running(containers)
        messages = [message for _, message in running]
        if not self._local:
            return _pod_message(entry, pb.LinuxPodSandboxStats(), messages)
        usage = None
        if entry.cgroup_parent in exclusive:
            usage = self._usage.parent(entry.pid, entry.id, entry.cgroup_parent)
        if usage is None:
            pause = self._container_usage(entry)
            if pause is None:
                return None
            usage = stats.summed([pause, *(one for one, _ in running if one is not None)])
        network = None if entry.host_network else self._usage.network(entry.pid, entry.id)
        return _pod_message(entry, stats.pod_stats(usage, network), messages)


def _exclusive_parents(sandboxes: Iterable[SandboxEntry]) -> frozenset[str]:
    return stats.exclusive_parents(entry.cgroup_parent for entry in sandboxes if entry.running)


def _pod_message(entry: SandboxEntry, linux: pb.LinuxPodSandboxStats, containers: Iterable[bytes]) -> bytes:
    figures = linux.SerializeToString() + repeated_field(_CONTAINERS, containers)
    return message_field(_ATTRIBUTES, stats.sandbox_attributes(entry.item)) + message_field(_LINUX, figures)
