"""Readings of the kernel as the CRI's messages.

A value that the kernel does not report is left unset: 0 would be a figure.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.kernel import (
    CgroupUsage,
    InterfaceUsage,
    LayerUsage,
    NetworkUsage,
    Pressure,
    PressureShare,
)

_GREATEST = 2**64 - 1
#: Attributes that are kept serialized: more than a node has containers.
_KEPT = 2048


@functools.lru_cache(_KEPT)
def container_attributes(item: bytes) -> bytes:
    """Return the serialized ContainerAttributes of a serialized Container."""
    container = pb.Container.FromString(item)
    return pb.ContainerAttributes(
        id=container.id,
        metadata=container.metadata,
        labels=container.labels,
        annotations=container.annotations,
    ).SerializeToString()


@functools.lru_cache(_KEPT)
def sandbox_attributes(item: bytes) -> bytes:
    """Return the serialized PodSandboxAttributes of a serialized PodSandbox."""
    sandbox = pb.PodSandbox.FromString(item)
    return pb.PodSandboxAttributes(
        id=sandbox.id, metadata=sandbox.metadata, labels=sandbox.labels, annotations=sandbox.annotations
    ).SerializeToString()


def container_stats(usage: CgroupUsage | None, layer: LayerUsage | None, mountpoint: str) -> pb.ContainerStats:
    """Return a container's stats without ``attributes``.

    :param mountpoint: a directory of the writable layers' file system.
    """
    stats = pb.ContainerStats()
    if usage is not None:
        _fill_cpu(stats.cpu, usage)
        _fill_memory(stats.memory, usage)
        _fill_swap(stats.swap, usage)
        _fill_io(stats.io, usage)
    _fill_layer(stats.writable_layer, layer, mountpoint)
    return stats


def pod_stats(usage: CgroupUsage | None, network: NetworkUsage | None) -> pb.LinuxPodSandboxStats:
    """Return a pod's stats without ``containers``."""
    stats = pb.LinuxPodSandboxStats()
    if usage is not None:
        _fill_cpu(stats.cpu, usage)
        _fill_memory(stats.memory, usage)
        _fill_process(stats.process, usage)
        _fill_io(stats.io, usage)
    _fill_network(stats.network, network)
    return stats


def summed(usages: Sequence[CgroupUsage]) -> CgroupUsage | None:
    """Return the usage of several cgroups together, with the latest timestamps; None if there are none.

    A value that one of them lacks is None.  Limits and pressure have no sum.
    """
    if not usages:
        return None

    def total(value: Callable[[CgroupUsage], int | None]) -> int | None:
        values = [value(usage) for usage in usages]
        return None if None in values else sum(each for each in values if each is not None)

    return CgroupUsage(
        cpu_timestamp=max(usage.cpu_timestamp for usage in usages),
        timestamp=max(usage.timestamp for usage in usages),
        cpu=total(lambda usage: usage.cpu),
        nano_cores=total(lambda usage: usage.nano_cores),
        memory=total(lambda usage: usage.memory),
        working_set=total(lambda usage: usage.working_set),
        rss=total(lambda usage: usage.rss),
        page_faults=total(lambda usage: usage.page_faults),
        major_page_faults=total(lambda usage: usage.major_page_faults),
        swap=total(lambda usage: usage.swap),
        tasks=total(lambda usage: usage.tasks),
    )


def exclusive_parents(parents: Iterable[str]) -> frozenset[str]:
    """Return those of some pods' cgroup parents that belong to one pod alone.

    A parent that two pods name, or that is above another pod's, holds more than one pod.  ``""`` is the engine's own
    parent, which all pods share.  With systemd's driver a parent is a slice: ``a-b.slice`` is below ``a.slice``.
    """
    seen: set[str] = set()
    shared = {"", "/"}
    for parent in parents:
        if parent in seen:
            shared.add(parent)
        seen.add(parent)
        separator, ending = ("-", ".slice") if parent.endswith(".slice") and "/" not in parent else ("/", "")
        path = parent.removesuffix(ending)
        while separator in path:
            path = path.rpartition(separator)[0]
            shared.add(path + ending)
    return frozenset(seen - shared)


# The functions below fill a part of a message in place: to make parts and copy them takes four times as long.  A part
# that nothing is assigned to stays unset.


def _set(figure: pb.UInt64Value, number: int | None) -> None:
    if number is not None and number <= _GREATEST:
        figure.value = number


def _fill_cpu(cpu: pb.CpuUsage, usage: CgroupUsage) -> None:
    cpu.timestamp = usage.cpu_timestamp
    _set(cpu.usage_core_nano_seconds, usage.cpu)
    _set(cpu.usage_nano_cores, usage.nano_cores)
    _fill_pressure(cpu.psi, usage.cpu_pressure)


def _fill_memory(memory: pb.MemoryUsage, usage: CgroupUsage) -> None:
    if usage.memory is None:
        return
    memory.timestamp = usage.timestamp
    _set(memory.working_set_bytes, usage.working_set)
    if usage.memory_limit is not None and usage.working_set is not None:
        _set(memory.available_bytes, max(0, usage.memory_limit - usage.working_set))
    _set(memory.usage_bytes, usage.memory)
    _set(memory.rss_bytes, usage.rss)
    _set(memory.page_faults, usage.page_faults)
    _set(memory.major_page_faults, usage.major_page_faults)
    _fill_pressure(memory.psi, usage.memory_pressure)


def _fill_swap(swap: pb.SwapUsage, usage: CgroupUsage) -> None:
    if usage.swap is None:
        return
    swap.timestamp = usage.timestamp
    _set(swap.swap_usage_bytes, usage.swap)
    if usage.swap_limit is not None:
        _set(swap.swap_available_bytes, max(0, usage.swap_limit - usage.swap))


def _fill_process(process: pb.ProcessUsage, usage: CgroupUsage) -> None:
    if usage.tasks is not None:
        process.timestamp = usage.timestamp
        _set(process.process_count, usage.tasks)


def _fill_io(io: pb.IoUsage, usage: CgroupUsage) -> None:
    if usage.io_pressure is not None:
        io.timestamp = usage.timestamp
        _fill_pressure(io.psi, usage.io_pressure)


def _fill_pressure(psi: pb.PsiStats, pressure: Pressure | None) -> None:
    if pressure is not None:
        _fill_share(psi.Full, pressure.full)
        _fill_share(psi.Some, pressure.some)


def _fill_share(data: pb.PsiData, share: PressureShare | None) -> None:
    if share is not None:
        data.Total = min(share.total, _GREATEST)
        data.Avg10, data.Avg60, data.Avg300 = share.avg10, share.avg60, share.avg300


def _fill_layer(filesystem: pb.FilesystemUsage, layer: LayerUsage | None, mountpoint: str) -> None:
    if layer is not None:
        filesystem.timestamp = layer.timestamp
        filesystem.fs_id.mountpoint = mountpoint
        _set(filesystem.used_bytes, layer.used_bytes)
        _set(filesystem.inodes_used, layer.inodes)


def _fill_network(message: pb.NetworkUsage, network: NetworkUsage | None) -> None:
    if network is not None:
        message.timestamp = network.timestamp
        _fill_interface(message.default_interface, network.default)
        for usage in network.others:
            _fill_interface(message.interfaces.add(), usage)


def _fill_interface(interface: pb.NetworkInterfaceUsage, usage: InterfaceUsage) -> None:
    interface.name = usage.name
    _set(interface.rx_bytes, usage.rx_bytes)
    _set(interface.rx_errors, usage.rx_errors)
    _set(interface.tx_bytes, usage.tx_bytes)
    _set(interface.tx_errors, usage.tx_errors)
