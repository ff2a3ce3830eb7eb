"""Readings as the CRI's messages."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.kernel import (
    CgroupUsage,
    InterfaceUsage,
    LayerUsage,
    NetworkUsage,
    Pressure,
    PressureShare,
)
from criwist.translate.stats import (
    container_attributes,
    container_stats,
    exclusive_parents,
    pod_stats,
    sandbox_attributes,
    summed,
)

PRESSURE = Pressure(PressureShare(3000, 1.5, 0.25, 0.0), None)
USAGE = CgroupUsage(
    cpu_timestamp=1, timestamp=2, cpu=100, nano_cores=50, memory=1000, working_set=600, rss=500, memory_limit=2000,
    page_faults=7, major_page_faults=1, swap=10, swap_limit=30, tasks=4, cpu_pressure=PRESSURE,
    memory_pressure=PRESSURE, io_pressure=PRESSURE,
)  # fmt: skip


class ContainerStatsTests(SynchronousTestCase):
    """Stats of a container."""

    def test_everything(self) -> None:
        """Every figure has its field, with the timestamp of its reading."""
        stats = container_stats(USAGE, LayerUsage(3, 4096, 2), "/layers")
        psi = pb.PsiStats(Some=pb.PsiData(Total=3000, Avg10=1.5, Avg60=0.25))
        value = pb.UInt64Value
        expected = pb.ContainerStats(
            cpu=pb.CpuUsage(
                timestamp=1, usage_core_nano_seconds=value(value=100), usage_nano_cores=value(value=50), psi=psi
            ),
            memory=pb.MemoryUsage(
                timestamp=2, working_set_bytes=value(value=600), available_bytes=value(value=1400),
                usage_bytes=value(value=1000), rss_bytes=value(value=500), page_faults=value(value=7),
                major_page_faults=value(value=1), psi=psi,
            ),
            swap=pb.SwapUsage(timestamp=2, swap_usage_bytes=value(value=10), swap_available_bytes=value(value=20)),
            io=pb.IoUsage(timestamp=2, psi=psi),
            writable_layer=pb.FilesystemUsage(
                timestamp=3, fs_id=pb.FilesystemIdentifier(mountpoint="/layers"), used_bytes=value(value=4096),
                inodes_used=value(value=2),
            ),
        )  # fmt: skip
        self.assertEqual(stats, expected)

    def test_nothing(self) -> None:
        """What the kernel does not report is not set: 0 would be a figure."""
        self.assertEqual(container_stats(None, None, ""), pb.ContainerStats())
        self.assertEqual(container_stats(CgroupUsage(1, 2), None, ""), pb.ContainerStats(cpu=pb.CpuUsage(timestamp=1)))

    def test_zero(self) -> None:
        """A reported 0 is set."""
        stats = container_stats(evolve(USAGE, cpu=0, nano_cores=0, swap=0), None, "")
        self.assertTrue(stats.cpu.HasField("usage_core_nano_seconds"))
        self.assertTrue(stats.cpu.HasField("usage_nano_cores"))
        self.assertTrue(stats.swap.HasField("swap_usage_bytes"))

    def test_limits(self) -> None:
        """Without a limit nothing is left of it; what is beyond a limit leaves 0."""
        stats = container_stats(evolve(USAGE, memory_limit=None, swap_limit=None), None, "")
        self.assertFalse(stats.memory.HasField("available_bytes"))
        self.assertFalse(stats.swap.HasField("swap_available_bytes"))
        stats = container_stats(evolve(USAGE, memory_limit=100, swap_limit=1), None, "")
        self.assertTrue(stats.memory.HasField("available_bytes"))
        self.assertEqual((stats.memory.available_bytes.value, stats.swap.swap_available_bytes.value), (0, 0))

    def test_too_great(self) -> None:
        """A figure that does not fit the field is not set."""
        huge = Pressure(None, PressureShare(2**65, 0.0, 0.0, 0.0))
        stats = container_stats(evolve(USAGE, cpu=2**64, cpu_pressure=huge), None, "")
        self.assertFalse(stats.cpu.HasField("usage_core_nano_seconds"))
        self.assertEqual(stats.cpu.psi.Full.Total, 2**64 - 1)


class PodStatsTests(SynchronousTestCase):
    """Stats of a pod."""

    def test_network(self) -> None:
        """The default interface is apart from the others."""
        network = NetworkUsage(9, InterfaceUsage("eth0", 1, 2, 3, 4), (InterfaceUsage("net1", 5, 6, 7, 8),))
        stats = pod_stats(USAGE, network)
        self.assertEqual((stats.network.timestamp, stats.network.default_interface.name), (9, "eth0"))
        first = stats.network.default_interface
        figures = (first.rx_bytes.value, first.rx_errors.value, first.tx_bytes.value, first.tx_errors.value)
        self.assertEqual(figures, (1, 2, 3, 4))
        self.assertEqual([each.name for each in stats.network.interfaces], ["net1"])
        self.assertEqual((stats.process.process_count.value, stats.cpu.usage_core_nano_seconds.value), (4, 100))
        self.assertTrue(stats.HasField("io"))

    def test_nothing(self) -> None:
        """A pod without figures has none."""
        self.assertEqual(pod_stats(None, None), pb.LinuxPodSandboxStats())
        self.assertEqual(pod_stats(CgroupUsage(1, 2), None), pb.LinuxPodSandboxStats(cpu=pb.CpuUsage(timestamp=1)))

    def test_sum(self) -> None:
        """A sum has the latest timestamps, no limits and no pressure."""
        total = summed([USAGE, evolve(USAGE, cpu_timestamp=8, timestamp=9, cpu=1)])
        expected = CgroupUsage(
            cpu_timestamp=8, timestamp=9, cpu=101, nano_cores=100, memory=2000, working_set=1200, rss=1000,
            page_faults=14, major_page_faults=2, swap=20, tasks=8,
        )  # fmt: skip
        self.assertEqual(total, expected)
        self.assertIsNone(summed([]))

    def test_sum_with_a_gap(self) -> None:
        """The sum of a figure that one part lacks is not the sum of the others."""
        total = summed([USAGE, evolve(USAGE, nano_cores=None)])
        assert total is not None
        self.assertIsNone(total.nano_cores)
        self.assertEqual(total.cpu, 200)


class AttributesTests(SynchronousTestCase):
    """Attributes of items of lists."""

    def test_container(self) -> None:
        """A container's attributes are those of its item in ListContainers."""
        metadata = pb.ContainerMetadata(name="main", attempt=2)
        item = pb.Container(id="a", metadata=metadata, labels={"b": "c"}, annotations={"d": "e"}, image_ref="f")
        expected = pb.ContainerAttributes(id="a", metadata=metadata, labels={"b": "c"}, annotations={"d": "e"})
        self.assertEqual(pb.ContainerAttributes.FromString(container_attributes(item.SerializeToString())), expected)

    def test_sandbox(self) -> None:
        """A pod's attributes are those of its item in ListPodSandbox."""
        metadata = pb.PodSandboxMetadata(name="pod", namespace="n", uid="u", attempt=1)
        item = pb.PodSandbox(id="a", metadata=metadata, labels={"b": "c"}, annotations={"d": "e"}, created_at=3)
        expected = pb.PodSandboxAttributes(id="a", metadata=metadata, labels={"b": "c"}, annotations={"d": "e"})
        self.assertEqual(pb.PodSandboxAttributes.FromString(sandbox_attributes(item.SerializeToString())), expected)


class ExclusiveParentsTests(SynchronousTestCase):
    """Which cgroups are one pod's own."""

    def test_own(self) -> None:
        """A parent that one pod names is its own; the engine's is nobody's."""
        self.assertEqual(
            exclusive_parents(["/kubepods/pod1", "/kubepods/pod2", ""]), {"/kubepods/pod1", "/kubepods/pod2"}
        )
        self.assertEqual(exclusive_parents(["kubepods-pod1.slice"]), {"kubepods-pod1.slice"})
        self.assertEqual(exclusive_parents(["", "/"]), frozenset())

    def test_shared(self) -> None:
        """A parent that two pods name, or that another pod's is in, is not one pod's own."""
        self.assertEqual(exclusive_parents(["/kubepods", "/kubepods"]), frozenset())
        self.assertEqual(exclusive_parents(["/kubepods", "/kubepods/pod1"]), {"/kubepods/pod1"})
        self.assertEqual(exclusive_parents(["a.slice", "a-b-c.slice"]), {"a-b-c.slice"})
        self.assertEqual(exclusive_parents(["/a/x-y", "/a/x"]), {"/a/x-y", "/a/x"})
