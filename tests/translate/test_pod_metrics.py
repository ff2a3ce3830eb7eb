"""Readings as metrics under cAdvisor's names."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.kernel import CgroupUsage, InterfaceUsage, LayerUsage, NetworkUsage
from criwist.interfaces.kernel_metrics import CgroupMetrics, DeviceIO, FilesystemMetrics, ProcessMetrics
from criwist.translate.pod_metrics import (
    DESCRIPTORS,
    LABELS,
    WRITABLE_LAYERS,
    Value,
    cgroup_values,
    descriptor_message,
    label_fields,
    layer_values,
    metric_message,
    network_values,
    offered_descriptors,
    process_values,
    start_value,
    status_facts,
    usage_values,
)
from tests.translate.test_stats import USAGE

#: The names of cAdvisor's metrics that a kubelet serves.
NAMES = (
    "blkio_device_usage_total", "cpu_cfs_periods_total", "cpu_cfs_throttled_periods_total",
    "cpu_cfs_throttled_seconds_total", "cpu_system_seconds_total", "cpu_usage_seconds_total",
    "cpu_user_seconds_total", "file_descriptors", "fs_inodes_free", "fs_inodes_total", "fs_limit_bytes",
    "fs_reads_bytes_total", "fs_reads_total", "fs_usage_bytes", "fs_writes_bytes_total", "fs_writes_total",
    "hugetlb_max_usage_bytes", "hugetlb_usage_bytes", "last_seen", "memory_cache", "memory_failcnt",
    "memory_failures_total", "memory_kernel_usage", "memory_mapped_file", "memory_max_usage_bytes", "memory_rss",
    "memory_swap", "memory_usage_bytes", "memory_working_set_bytes", "network_receive_bytes_total",
    "network_receive_errors_total", "network_receive_packets_dropped_total", "network_receive_packets_total",
    "network_transmit_bytes_total", "network_transmit_errors_total", "network_transmit_packets_dropped_total",
    "network_transmit_packets_total", "oom_events_total", "pressure_cpu_stalled_seconds_total",
    "pressure_cpu_waiting_seconds_total", "pressure_io_stalled_seconds_total", "pressure_io_waiting_seconds_total",
    "pressure_memory_stalled_seconds_total", "pressure_memory_waiting_seconds_total", "processes", "sockets",
    "spec_cpu_period", "spec_cpu_quota", "spec_cpu_shares", "spec_memory_limit_bytes",
    "spec_memory_reservation_limit_bytes", "spec_memory_swap_limit_bytes", "start_time_seconds", "threads",
    "threads_max", "ulimits_soft",
)  # fmt: skip
METRICS = CgroupMetrics(
    cpu_user=1, cpu_system=2, periods=3, throttled_periods=4, throttled=2_500_000_000, page_cache=6, mapped_file=7,
    kernel_memory=8, memory_peak=9, memory_limit_hits=10, own_page_faults=11, own_major_page_faults=12, oom_kills=13,
    tasks_max=14, huge_pages={"2MB": 15}, huge_pages_peak={"2MB": 16},
    devices=(DeviceIO(8, 1, "/dev/sda1", {"Read": 17, "Write": 18, "Sync": 35}, {"Read": 19, "Write": 20}),),
    cpu_period=21, cpu_quota=22, cpu_shares=23, memory_limit=24, memory_reservation=25, swap_limit=26,
)  # fmt: skip
PROCESSES = ProcessMetrics(processes=1, descriptors=2, sockets=3, open_files_limit=4)
FILESYSTEM = FilesystemMetrics("/dev/sda1", 1000, 100, 40)
NETWORK = NetworkUsage(3, InterfaceUsage("eth0", 1, 2, 3, 4, 5, 6, 7, 8), (InterfaceUsage("net1", 0, 0, 0, 0),))


def by_name(values: Iterable[Value]) -> dict[tuple[str, ...], int]:
    """Return the values by name, without ``container_``, and labels."""
    return {(value.descriptor.name.removeprefix("container_"), *value.labels): value.value for value in values}


class PodMetricsTests(SynchronousTestCase):
    """The metrics of pods and containers."""

    def test_names(self) -> None:
        """There is a descriptor for each of the names that kubelet's cAdvisor has, and no other."""
        self.assertEqual(sorted(each.name for each in DESCRIPTORS), sorted(f"container_{name}" for name in NAMES))

    def test_each_descriptor_has_a_value(self) -> None:
        """Complete readings have a value for each descriptor, with as many labels as the descriptor has keys."""
        pressure = USAGE.cpu_pressure
        assert pressure is not None
        both = evolve(pressure, full=pressure.some)
        usage = evolve(USAGE, cpu_pressure=both, memory_pressure=both, io_pressure=both)
        values = [
            start_value(1), *usage_values(usage), *cgroup_values(METRICS), *process_values(PROCESSES),
            *layer_values(LayerUsage(3, 4096, 2), FILESYSTEM), *network_values(NETWORK),
        ]  # fmt: skip
        self.assertEqual({value.descriptor for value in values}, set(DESCRIPTORS))
        for value in values:
            message = pb.Metric.FromString(metric_message(label_fields(("x",) * len(LABELS)), value) or b"")
            self.assertEqual(message.name, value.descriptor.name)
            self.assertEqual(len(message.label_values), len(descriptor_message(value.descriptor).label_keys))

    def test_nothing(self) -> None:
        """What the kernel does not report has no value."""
        self.assertEqual(by_name(usage_values(CgroupUsage(1, 2))), {("last_seen",): 2})
        self.assertEqual(list(cgroup_values(CgroupMetrics())), [])
        self.assertEqual(list(process_values(ProcessMetrics())), [])
        self.assertEqual(list(layer_values(LayerUsage(1, 2, 3), None)), [])

    def test_cgroup(self) -> None:
        """The labels are those of cAdvisor."""
        found = by_name([*usage_values(USAGE), *cgroup_values(METRICS)])
        expected = {
            ("cpu_usage_seconds_total", "total"): 100,
            ("memory_failures_total", "pgfault", "hierarchy"): 7,
            ("memory_failures_total", "pgmajfault", "hierarchy"): 1,
            ("memory_failures_total", "pgfault", "container"): 11,
            ("memory_failures_total", "pgmajfault", "container"): 12,
            ("blkio_device_usage_total", "/dev/sda1", "8", "1", "Sync"): 35,
            ("fs_reads_bytes_total", "/dev/sda1"): 17,
            ("fs_writes_bytes_total", "/dev/sda1"): 18,
            ("fs_reads_total", "/dev/sda1"): 19,
            ("fs_writes_total", "/dev/sda1"): 20,
            ("hugetlb_usage_bytes", "2MB"): 15,
            ("hugetlb_max_usage_bytes", "2MB"): 16,
            ("pressure_cpu_waiting_seconds_total",): 3000,
            ("threads",): 4,
            ("threads_max",): 14,
            ("oom_events_total",): 13,
        }
        self.assertEqual({key: found.get(key) for key in expected}, expected)
        self.assertNotIn(("pressure_cpu_stalled_seconds_total",), found)

    def test_network(self) -> None:
        """Each interface has its eight counters."""
        found = by_name(network_values(NETWORK))
        self.assertEqual(found["network_receive_packets_dropped_total", "eth0"], 6)
        self.assertEqual(found["network_transmit_errors_total", "eth0"], 4)
        self.assertEqual(len(found), 16)

    def test_message(self) -> None:
        """The CRI has whole seconds, rounded down, and a timestamp for a kept measurement alone."""
        values = {value.descriptor.name: value for value in cgroup_values(METRICS)}
        labels = ("id", "name", "image", "container", "pod", "namespace")
        fields = label_fields(labels)
        message = metric_message(fields, values["container_cpu_cfs_throttled_seconds_total"])
        expected = pb.Metric(
            name="container_cpu_cfs_throttled_seconds_total",
            metric_type=pb.COUNTER,
            label_values=labels,
            value=pb.UInt64Value(value=2),
        )
        self.assertEqual(pb.Metric.FromString(message or b""), expected)
        layer, *_ = layer_values(LayerUsage(3, 4096, 2), FILESYSTEM)
        kept = pb.Metric.FromString(metric_message(fields, layer) or b"")
        self.assertEqual((kept.timestamp, kept.metric_type), (3, pb.GAUGE))
        self.assertEqual(list(kept.label_values), [*labels, "/dev/sda1"])

    def test_zero(self) -> None:
        """A value of 0 is set, unlike one that is not known."""
        (value,) = process_values(ProcessMetrics(processes=0))
        message = pb.Metric.FromString(metric_message(b"", value) or b"")
        self.assertTrue(message.HasField("value"))

    def test_no_limit_of_open_files(self) -> None:
        """No limit, -1, is a value that the CRI's message cannot carry."""
        (value,) = process_values(ProcessMetrics(open_files_limit=-1))
        self.assertIsNone(metric_message(b"", value))
        self.assertEqual(value.value, -1)

    def test_offered(self) -> None:
        """A descriptor is offered if the kernel has its feature; those without one are always offered."""
        names = {each.name for each in offered_descriptors({WRITABLE_LAYERS, "hugetlb"})}
        self.assertLessEqual(
            {"container_fs_usage_bytes", "container_hugetlb_usage_bytes", "container_last_seen"}, names
        )
        self.assertFalse({"container_hugetlb_max_usage_bytes", "container_cpu_usage_seconds_total"} & names)

    def test_status_facts(self) -> None:
        """The start and the CPU shares come from the status."""
        resources = pb.ContainerResources(linux=pb.LinuxContainerResources(cpu_shares=7))
        status = pb.ContainerStatus(started_at=5, resources=resources).SerializeToString()
        self.assertEqual(status_facts(status), (5, 7))
