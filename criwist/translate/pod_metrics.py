"""Metrics of pods and containers under cAdvisor's names: the descriptors, and the kernel's readings as their values.

Values are integers in the kernel's units.  The CRI carries whole numbers alone, so seconds are cut to whole ones there,
as in containerd and CRI-O; Prometheus gets the fraction.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.kernel import CgroupUsage, InterfaceUsage, LayerUsage, NetworkUsage, Pressure
from criwist.interfaces.kernel_metrics import CgroupMetrics, DeviceIO, FilesystemMetrics, ProcessMetrics
from criwist.wire.protobuf import message_field, number_field, repeated_field

#: The labels of every metric.  The values of ``id`` are ids of containers and sandboxes, as in containerd and CRI-O.
LABELS: Final = ("id", "name", "image", "container", "pod", "namespace")

_TIMESTAMP, _LABEL_VALUES, _VALUE = (
    pb.Metric.TIMESTAMP_FIELD_NUMBER,
    pb.Metric.LABEL_VALUES_FIELD_NUMBER,
    pb.Metric.VALUE_FIELD_NUMBER,
)
_NUMBER = pb.UInt64Value.VALUE_FIELD_NUMBER
_GREATEST = 2**64 - 1
_SECONDS = 10**9
#: Statuses whose facts are kept parsed: more than a node has containers.
_KEPT = 2048


@frozen(eq=False)  # there is one of each, and many look-ups by it
class Descriptor:
    """The name of a metric, and its meaning."""

    name: str
    help: str
    #: ``COUNTER`` or ``GAUGE`` of runtime.v1.MetricType.
    type: pb.MetricType
    #: The feature of the kernel that the metric needs (``IContainerMetrics.offered``); ``""``: none.
    needs: str = ""
    #: Keys of labels after :data:`LABELS`.
    labels: tuple[str, ...] = ()
    #: The values are divided by this.
    divisor: int = 1


class Value(NamedTuple):
    """The value of one metric of one object."""

    descriptor: Descriptor
    #: In the kernel's unit, see ``Descriptor.divisor``.  -1 stands for "no limit" in ``container_ulimits_soft``.
    value: int
    #: Values of ``Descriptor.labels``.
    labels: tuple[str, ...] = ()
    #: Nanoseconds since the epoch of a measurement that was kept; 0: it was read just now.
    timestamp: int = 0


def _counter(name: str, text: str, needs: str = "", *labels: str, divisor: int = 1) -> Descriptor:
    return Descriptor(f"container_{name}", text, pb.COUNTER, needs, labels, divisor)


def _gauge(name: str, text: str, needs: str = "", *labels: str, divisor: int = 1) -> Descriptor:
    return Descriptor(f"container_{name}", text, pb.GAUGE, needs, labels, divisor)


_LAST_SEEN = _gauge("last_seen", "Time of the reading, in seconds since the epoch.", divisor=_SECONDS)
_START_TIME = _gauge("start_time_seconds", "Start of the container, in seconds since the epoch.", divisor=_SECONDS)

_CPU_USAGE = _counter("cpu_usage_seconds_total", "CPU time used, in seconds.", "cpu", "cpu", divisor=_SECONDS)
_CPU_USER = _counter("cpu_user_seconds_total", "CPU time of programs, in seconds.", "cpu.modes", divisor=_SECONDS)
_CPU_SYSTEM = _counter("cpu_system_seconds_total", "CPU time of the kernel, in seconds.", "cpu.modes", divisor=_SECONDS)
_PERIODS = _counter("cpu_cfs_periods_total", "Elapsed periods of the CPU quota.", "cpu.quota")
_THROTTLED_PERIODS = _counter(
    "cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up.", "cpu.quota"
)
_THROTTLED = _counter(
    "cpu_cfs_throttled_seconds_total", "Time without CPU for want of quota, in seconds.", "cpu.quota", divisor=_SECONDS
)

_MEMORY_USAGE = _gauge("memory_usage_bytes", "Memory in use, page cache included.", "memory")
_WORKING_SET = _gauge("memory_working_set_bytes", "Memory in use without inactive page cache.", "memory")
_RSS = _gauge("memory_rss", "Anonymous memory, in bytes.", "memory")
_CACHE = _gauge("memory_cache", "Page cache, in bytes.", "memory")
_MAPPED_FILE = _gauge("memory_mapped_file", "Mapped files, in bytes.", "memory")
_KERNEL_MEMORY = _gauge("memory_kernel_usage", "Memory of the kernel, in bytes.", "memory.kernel")
_SWAP = _gauge("memory_swap", "Swap in use, in bytes.", "swap")
_MEMORY_PEAK = _gauge("memory_max_usage_bytes", "Highest memory usage so far.", "memory.peak")
_FAILCNT = _counter("memory_failcnt", "Times that the memory usage reached the limit.", "memory")
_FAULTS = _counter("memory_failures_total", "Page faults.", "memory", "failure_type", "scope")
_OOM = _counter("oom_events_total", "Processes that the kernel killed for want of memory.", "oom")
_HUGE_PAGES = _gauge("hugetlb_usage_bytes", "Huge pages in use.", "hugetlb", "pagesize")
_HUGE_PAGES_PEAK = _gauge("hugetlb_max_usage_bytes", "Highest use of huge pages so far.", "hugetlb.peak", "pagesize")

_BLKIO = _counter("blkio_device_usage_total", "Bytes by block device.", "io", "device", "major", "minor", "operation")
_READ_BYTES = _counter("fs_reads_bytes_total", "Bytes read from block devices.", "io", "device")
_WRITTEN_BYTES = _counter("fs_writes_bytes_total", "Bytes written to block devices.", "io", "device")
_READS = _counter("fs_reads_total", "Reads from block devices.", "io", "device")
_WRITES = _counter("fs_writes_total", "Writes to block devices.", "io", "device")
_LAYER = _gauge("fs_usage_bytes", "Disk space of the writable layer.", "layer", "device")
_FS_LIMIT = _gauge("fs_limit_bytes", "Size of the writable layer's file system.", "", "device")
_FS_INODES = _gauge("fs_inodes_total", "Inodes of the writable layer's file system.", "", "device")
_FS_FREE_INODES = _gauge("fs_inodes_free", "Free inodes of the writable layer's file system.", "", "device")

_PROCESSES = _gauge("processes", "Processes of the container.")
_DESCRIPTORS = _gauge("file_descriptors", "Open file descriptors of the container's processes.")
_SOCKETS = _gauge("sockets", "Open sockets of the container's processes.")
_THREADS = _gauge("threads", "Threads, those of the processes' own included.", "pids")
_THREADS_MAX = _gauge("threads_max", "Limit of threads; 0: none.", "pids")
_ULIMITS = _gauge("ulimits_soft", "Soft limits of the container's first process.", "", "ulimit")

_SPEC_PERIOD = _gauge("spec_cpu_period", "Period of the CPU quota, in microseconds.", "cpu.quota")
_SPEC_QUOTA = _gauge("spec_cpu_quota", "CPU time in each period, in microseconds; absent: no limit.", "cpu.quota")
_SPEC_SHARES = _gauge("spec_cpu_shares", "CPU shares.", "cpu.shares")
_SPEC_MEMORY = _gauge("spec_memory_limit_bytes", "Limit of memory; 0: none.", "memory")
_SPEC_RESERVATION = _gauge(
    "spec_memory_reservation_limit_bytes", "Memory that is reclaimed last; 0: none.", "memory.reservation"
)
_SPEC_SWAP = _gauge("spec_memory_swap_limit_bytes", "Limit of swap; 0: none.", "swap")


def _network(direction: str, what: str, text: str) -> Descriptor:
    return _counter(f"network_{direction}_{what}_total", text, "", "interface")


_RX_BYTES = _network("receive", "bytes", "Bytes received.")
_RX_PACKETS = _network("receive", "packets", "Packets received.")
_RX_DROPPED = _network("receive", "packets_dropped", "Received packets that were dropped.")
_RX_ERRORS = _network("receive", "errors", "Errors of receiving.")
_TX_BYTES = _network("transmit", "bytes", "Bytes sent.")
_TX_PACKETS = _network("transmit", "packets", "Packets sent.")
_TX_DROPPED = _network("transmit", "packets_dropped", "Packets that were dropped before they were sent.")
_TX_ERRORS = _network("transmit", "errors", "Errors of sending.")


def _pressure(resource: str, kind: str, text: str, needs: str) -> Descriptor:
    return _counter(f"pressure_{resource}_{kind}_seconds_total", text, needs, divisor=_SECONDS)


_PRESSURE: Final = {
    resource: (
        _pressure(resource, "waiting", f"Time that some tasks waited for {noun}.", f"pressure.{resource}"),
        _pressure(
            resource,
            "stalled",
            f"Time that all tasks waited for {noun}.",
            f"pressure.{resource}.full" if resource == "cpu" else f"pressure.{resource}",
        ),
    )
    for resource, noun in (("cpu", "CPU"), ("memory", "memory"), ("io", "input and output"))
}

DESCRIPTORS: Final = (
    _LAST_SEEN, _START_TIME, _CPU_USAGE, _CPU_USER, _CPU_SYSTEM, _PERIODS, _THROTTLED_PERIODS, _THROTTLED,
    _MEMORY_USAGE, _WORKING_SET, _RSS, _CACHE, _MAPPED_FILE, _KERNEL_MEMORY, _SWAP, _MEMORY_PEAK, _FAILCNT, _FAULTS,
    _OOM, _HUGE_PAGES, _HUGE_PAGES_PEAK, _BLKIO, _READ_BYTES, _WRITTEN_BYTES, _READS, _WRITES, _LAYER, _FS_LIMIT,
    _FS_INODES, _FS_FREE_INODES, _PROCESSES, _DESCRIPTORS, _SOCKETS, _THREADS, _THREADS_MAX, _ULIMITS, _SPEC_PERIOD,
    _SPEC_QUOTA, _SPEC_SHARES, _SPEC_MEMORY, _SPEC_RESERVATION, _SPEC_SWAP, _RX_BYTES, _RX_PACKETS, _RX_DROPPED,
    _RX_ERRORS, _TX_BYTES, _TX_PACKETS, _TX_DROPPED, _TX_ERRORS,
    *(descriptor for pair in _PRESSURE.values() for descriptor in pair),
)  # fmt: skip
#: The feature of ``container_fs_usage_bytes``, which is criwist's own: writable layers are measured.
WRITABLE_LAYERS: Final = "layer"


def offered_descriptors(features: Collection[str]) -> list[Descriptor]:
    """Return the descriptors of the metrics that can occur with these features of the kernel."""
    return [descriptor for descriptor in DESCRIPTORS if not descriptor.needs or descriptor.needs in features]


def usage_values(usage: CgroupUsage) -> Iterator[Value]:
    """Yield the values of a cgroup's usage, those which the stats have too."""
    yield Value(_LAST_SEEN, usage.timestamp)
    if usage.cpu is not None:
        yield Value(_CPU_USAGE, usage.cpu, ("total",))
    yield from _known(
        (
            (_MEMORY_USAGE, usage.memory),
            (_WORKING_SET, usage.working_set),
            (_RSS, usage.rss),
            (_SWAP, usage.swap),
            (_THREADS, usage.tasks),
        )
    )
    yield from _fault_values("hierarchy", usage.page_faults, usage.major_page_faults)
    yield from _pressure_values("cpu", usage.cpu_pressure)
    yield from _pressure_values("memory", usage.memory_pressure)
    yield from _pressure_values("io", usage.io_pressure)


def cgroup_values(metrics: CgroupMetrics) -> Iterator[Value]:
    """Yield the values of a cgroup's other figures."""
    yield from _known(
        (
            (_CPU_USER, metrics.cpu_user),
            (_CPU_SYSTEM, metrics.cpu_system),
            (_PERIODS, metrics.periods),
            (_THROTTLED_PERIODS, metrics.throttled_periods),
            (_THROTTLED, metrics.throttled),
            (_CACHE, metrics.page_cache),
            (_MAPPED_FILE, metrics.mapped_file),
            (_KERNEL_MEMORY, metrics.kernel_memory),
            (_MEMORY_PEAK, metrics.memory_peak),
            (_FAILCNT, metrics.memory_limit_hits),
            (_OOM, metrics.oom_kills),
            (_THREADS_MAX, metrics.tasks_max),
            (_SPEC_PERIOD, metrics.cpu_period),
            (_SPEC_QUOTA, metrics.cpu_quota),
            (_SPEC_SHARES, metrics.cpu_shares),
            (_SPEC_MEMORY, metrics.memory_limit),
            (_SPEC_RESERVATION, metrics.memory_reservation),
            (_SPEC_SWAP, metrics.swap_limit),
        )
    )
    yield from _fault_values("container", metrics.own_page_faults, metrics.own_major_page_faults)
    for size, used in metrics.huge_pages.items():
        yield Value(_HUGE_PAGES, used, (size,))
    for size, peak in metrics.huge_pages_peak.items():
        yield Value(_HUGE_PAGES_PEAK, peak, (size,))
    for device in metrics.devices:
        yield from _device_values(device)


def process_values(processes: ProcessMetrics) -> Iterator[Value]:
    """Yield the values of a container's processes."""
    yield from _known(
        (
            (_PROCESSES, processes.processes),
            (_DESCRIPTORS, processes.descriptors),
            (_SOCKETS, processes.sockets),
        )
    )
    if processes.open_files_limit is not None:
        yield Value(_ULIMITS, processes.open_files_limit, ("max_open_files",))


def layer_values(layer: LayerUsage | None, filesystem: FilesystemMetrics | None) -> Iterator[Value]:
    """Yield the values of a container's writable layer, and of the file system that it is in."""
    if filesystem is None:
        return
    device = (filesystem.device,)
    if layer is not None:
        yield Value(_LAYER, layer.used_bytes, device, layer.timestamp)
    yield Value(_FS_LIMIT, filesystem.size, device)
    yield Value(_FS_INODES, filesystem.inodes, device)
    yield Value(_FS_FREE_INODES, filesystem.free_inodes, device)


def network_values(network: NetworkUsage) -> Iterator[Value]:
    """Yield the values of a pod's network."""
    for interface in (network.default, *network.others):
        yield from _interface_values(interface)


def start_value(started_at: int) -> Value:
    """Return the value of a container's start, in nanoseconds since the epoch."""
    return Value(_START_TIME, started_at)


@functools.lru_cache(_KEPT)
def status_facts(status: bytes) -> tuple[int, int]:
    """Return the start, nanoseconds since the epoch, and the CPU shares in a serialized ContainerStatus."""
    parsed = pb.ContainerStatus.FromString(status)
    return parsed.started_at, parsed.resources.linux.cpu_shares


def descriptor_message(descriptor: Descriptor) -> pb.MetricDescriptor:
    """Return a descriptor as the CRI's message."""
    return pb.MetricDescriptor(name=descriptor.name, help=descriptor.help, label_keys=(*LABELS, *descriptor.labels))


def label_fields(labels: Sequence[str]) -> bytes:
    """Return the values of :data:`LABELS` as fields of a Metric, for :func:`metric_message`."""
    return repeated_field(_LABEL_VALUES, (label.encode("utf-8") for label in labels))


def metric_message(labels: bytes, value: Value) -> bytes | None:
    """Return a value as a serialized Metric; None for one that it cannot carry.

    A node has tens of thousands of these in a response, so they are not made of protobuf's objects.
    """
    descriptor, number, more, timestamp = value
    if not 0 <= number <= _GREATEST:
        return None
    parts = [_head(descriptor), labels]
    if more:
        parts.append(label_fields(more))
    if timestamp:
        parts.append(number_field(_TIMESTAMP, timestamp))
    parts.append(message_field(_VALUE, number_field(_NUMBER, number // descriptor.divisor)))
    return b"".join(parts)


@functools.lru_cache(len(DESCRIPTORS))
def _head(descriptor: Descriptor) -> bytes:
    """Return the fields of a Metric that are the descriptor's."""
    return pb.Metric(name=descriptor.name, metric_type=descriptor.type).SerializeToString()


def _known(values: Iterable[tuple[Descriptor, int | None]]) -> Iterator[Value]:
    for descriptor, value in values:
        if value is not None:
            yield Value(descriptor, value)


def _fault_values(scope: str, minor: int | None, major: int | None) -> Iterator[Value]:
    for kind, value in (("pgfault", minor), ("pgmajfault", major)):
        if value is not None:
            yield Value(_FAULTS, value, (kind, scope))


def _pressure_values(resource: str, pressure: Pressure | None) -> Iterator[Value]:
    if pressure is None:
        return
    for descriptor, share in zip(_PRESSURE[resource], (pressure.some, pressure.full), strict=True):
        if share is not None:
            yield Value(descriptor, share.total)


def _device_values(device: DeviceIO) -> Iterator[Value]:
    numbers = (device.device, str(device.major), str(device.minor))
    for operation, transferred in device.transferred.items():
        yield Value(_BLKIO, transferred, (*numbers, operation))
    for descriptor, figures, operation in (
        (_READ_BYTES, device.transferred, "Read"),
        (_WRITTEN_BYTES, device.transferred, "Write"),
        (_READS, device.operations, "Read"),
        (_WRITES, device.operations, "Write"),
    ):
        if operation in figures:
            yield Value(descriptor, figures[operation], (device.device,))


def _interface_values(interface: InterfaceUsage) -> Iterator[Value]:
    for descriptor, value in (
        (_RX_BYTES, interface.rx_bytes),
        (_RX_PACKETS, interface.rx_packets),
        (_RX_DROPPED, interface.rx_dropped),
        (_RX_ERRORS, interface.rx_errors),
        (_TX_BYTES, interface.tx_bytes),
        (_TX_PACKETS, interface.tx_packets),
        (_TX_DROPPED, interface.tx_dropped),
        (_TX_ERRORS, interface.tx_errors),
    ):
        yield Value(descriptor, value, (interface.name,))
