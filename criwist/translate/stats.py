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
    if usage is None:
        return pb.ContainerStats(writable_layer=_layer(layer, mountpoint))
    return pb.ContainerStats(
        cpu=_cpu(usage),
        memory=_memory(usage),
        swap=_swap(usage),
        io=_io(usage),
        writable_layer=_layer(layer, mountpoint),
    )


def pod_stats(usage: CgroupUsage | None, network: NetworkUsage | None) -> pb.LinuxPodSandboxStats:
    """Return a pod's stats without ``containers``."""
    if usage is None:
        return pb.LinuxPodSandboxStats(network=_network(network))
    return pb.LinuxPodSandboxStats(
        cpu=_cpu(usage), memory=_memory(usage), network=_network(network), process=_process(usage), io=_io(usage)
    )


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


def _value(number: int | None) -> pb.UInt64Value | None:
    return None if number is None or number > _GREATEST else pb.UInt64Value(value=number)


def _cpu(usage: CgroupUsage) -> pb.CpuUsage:
    return pb.CpuUsage(
        timestamp=usage.cpu_timestamp,
        usage_core_nano_seconds=_value(usage.cpu),
        usage_nano_cores=_value(usage.nano_cores),
        psi=_pressure(usage.cpu_pressure),
    )


def _memory(usage: CgroupUsage) -> pb.MemoryUsage | None:
    if usage.memory is None:
        return None
    available = None
    if usage.memory_limit is not None and usage.working_set is not None:
        available = max(0, usage.memory_limit - usage.working_set)
    return pb.MemoryUsage(
        timestamp=usage.timestamp,
        working_set_bytes=_value(usage.working_set),
        available_bytes=_value(available),
        usage_bytes=_value(usage.memory),
        rss_bytes=_value(usage.rss),
        page_faults=_value(usage.page_faults),
        major_page_faults=_value(usage.major_page_faults),
        psi=_pressure(usage.memory_pressure),
    )


def _swap(usage: CgroupUsage) -> pb.SwapUsage | None:
    if usage.swap is None:
        return None
    available = None if usage.swap_limit is None else max(0, usage.swap_limit - usage.swap)
    return pb.SwapUsage(
        timestamp=usage.timestamp, swap_usage_bytes=_value(usage.swap), swap_available_bytes=_value(available)
    )


def _process(usage: CgroupUsage) -> pb.ProcessUsage | None:
    if usage.tasks is None:
        return None
    return pb.ProcessUsage(timestamp=usage.timestamp, process_count=_value(usage.tasks))


def _layer(layer: LayerUsage | None, mountpoint: str) -> pb.FilesystemUsage | None:
    if layer is None:
        return None
    return pb.FilesystemUsage(
        timestamp=layer.timestamp,
        fs_id=pb.FilesystemIdentifier(mountpoint=mountpoint),
        used_bytes=_value(layer.used_bytes),
        inodes_used=_value(layer.inodes),
    )


def _network(network: NetworkUsage | None) -> pb.NetworkUsage | None:
    if network is None:
        return None
    return pb.NetworkUsage(
        timestamp=network.timestamp,
        default_interface=_interface(network.default),
        interfaces=map(_interface, network.others),
    )


def _io(usage: CgroupUsage) -> pb.IoUsage | None:
    if usage.io_pressure is None:
        return None
    return pb.IoUsage(timestamp=usage.timestamp, psi=_pressure(usage.io_pressure))


def _pressure(pressure: Pressure | None) -> pb.PsiStats | None:
    if pressure is None:
        return None
    return pb.PsiStats(Full=_share(pressure.full), Some=_share(pressure.some))


def _share(share: PressureShare | None) -> pb.PsiData | None:
    if share is None:
        return None
    total = min(share.total, _GREATEST)
    return pb.PsiData(Total=total, Avg10=share.avg10, Avg60=share.avg60, Avg300=share.avg300)


def _interface(usage: InterfaceUsage) -> pb.NetworkInterfaceUsage:
    return pb.NetworkInterfaceUsage(
        name=usage.name,
        rx_bytes=_value(usage.rx_bytes),
        rx_errors=_value(usage.rx_errors),
        tx_bytes=_value(usage.tx_bytes),
        tx_errors=_value(usage.tx_errors),
    )
