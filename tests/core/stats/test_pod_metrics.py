"""Metrics of a node in memory, with a kernel in memory."""

from __future__ import annotations

from attrs import define, evolve, field
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import assemble
from criwist.core.state.entries import SandboxEntry
from criwist.core.state.not_ready import NotReady
from criwist.interfaces.kernel_metrics import CgroupMetrics, FilesystemMetrics, IContainerMetrics, ProcessMetrics
from criwist.metrics.container_metrics import container_metrics
from criwist.translate.pod_metrics import LABELS
from tests.core.memory_node import NodeTestCase
from tests.core.stats.test_stats import MemoryUsage


@implementer(IContainerMetrics)
@define(eq=False)
class MemoryKernel:
    """A kernel with figures of all containers."""

    gone: set[str] = field(factory=set)

    def offered(self) -> frozenset[str]:
        return frozenset({"cpu", "oom"})

    def container(self, pid: int, container_id: str, cpu_shares: int) -> CgroupMetrics | None:
        return None if container_id in self.gone else CgroupMetrics(oom_kills=2, memory_limit_hits=3)

    def processes(self, pid: int, container_id: str) -> ProcessMetrics | None:
        return ProcessMetrics(processes=1)

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupMetrics | None:
        return CgroupMetrics(oom_kills=9)

    def filesystem(self, directory: str) -> FilesystemMetrics | None:
        return FilesystemMetrics("/dev/sda1", 1000, 100, 40)


class Registry:
    """What prometheus_client's encoder takes."""

    def __init__(self, core: object) -> None:
        self.core = core

    def collect(self) -> object:
        """Return the metrics."""
        return container_metrics(self.core.pod_metrics.series())  # type: ignore[attr-defined]


class PodMetricsTests(NodeTestCase):
    """A pod with two containers."""

    def setUp(self) -> None:
        super().setUp()
        self.usage, self.kernel = MemoryUsage(), MemoryKernel()
        self.assemble(self.node.config.docker_endpoint)
        self.pod_id = self.run_pod()
        self.first = self.run_container(self.pod_id, "first")
        self.second = self.run_container(self.pod_id, "second")
        self.usage.cpu = {self.pod_id: 1, self.first: 2_500_000_000, self.second: 10**9}

    def assemble(self, endpoint: str) -> None:
        """Assemble the node again, with this kernel and an engine at *endpoint*."""
        self.node.feed.stop()
        config = evolve(self.node.config, docker_endpoint=endpoint)
        adapters = evolve(self.node.adapters, usage=self.usage, container_metrics=self.kernel)
        core = self.node.core = assemble(config=config, adapters=adapters)
        self.node.cache, self.node.feed = core.cache, core.feed
        self.node.sandboxes, self.node.containers = core.sandboxes, core.containers
        self.node.start()

    def pods(self) -> list[pb.PodSandboxMetrics]:
        """Return the metrics of all pods."""
        return list(pb.ListPodSandboxMetricsResponse.FromString(self.node.core.pod_metrics.pods()).pod_metrics)

    def containers(self) -> dict[str, dict[str, pb.Metric]]:
        """Return the metrics of the one pod's containers, by id and name."""
        (pod,) = self.pods()
        return {each.container_id: {metric.name: metric for metric in each.metrics} for each in pod.container_metrics}

    def test_containers(self) -> None:
        """A container's metrics have its names as labels, and seconds."""
        found = self.containers()
        self.assertEqual(set(found), {self.first, self.second})
        metric = found[self.first]["container_cpu_usage_seconds_total"]
        self.assertEqual(metric.value.value, 2)
        self.assertEqual(metric.label_values[0], self.first)
        name = "k8s_first_pod_default_uid-pod_0"
        self.assertEqual(list(metric.label_values[1:]), [name, "busybox", "first", "pod", "default", "total"])

    def test_network_of_a_pod(self) -> None:
        """A pod's network has the name and the image of the pause container, and no container."""
        (pod,) = self.pods()
        self.assertEqual(pod.pod_sandbox_id, self.pod_id)
        self.assertEqual({metric.name.split("_")[1] for metric in pod.metrics}, {"network"})
        name = "k8s_POD_pod_default_uid-pod_0"
        labels = list(pod.metrics[0].label_values)
        self.assertEqual(labels, [self.pod_id, name, "pause:1", "", "pod", "default", "eth0"])

    def test_cgroup_of_a_pod(self) -> None:
        """A pod with a cgroup of its own has that cgroup's figures, without a name and an image."""
        self.usage.parents["/kubepods/pod1"] = 5 * 10**9
        entry = self.node.cache.snapshot.sandboxes[self.pod_id]
        assert isinstance(entry, SandboxEntry)
        self.node.cache.publish(evolve(entry, cgroup_parent="/kubepods/pod1"))
        (pod,) = self.pods()
        metrics = {metric.name: metric for metric in pod.metrics}
        self.assertEqual(metrics["container_oom_events_total"].value.value, 9)
        metric = metrics["container_cpu_usage_seconds_total"]
        self.assertEqual(list(metric.label_values), [self.pod_id, "", "", "", "pod", "default", "total"])

    def test_container_that_ends_meanwhile(self) -> None:
        """A container that the kernel does not know any more is left out, and the others stay."""
        self.kernel.gone.add(self.first)
        self.assertEqual(set(self.containers()), {self.second})

    def test_pod_that_ends_meanwhile(self) -> None:
        """A pod of which nothing is left is left out."""
        self.kernel.gone |= {self.first, self.second}
        entry = self.node.cache.snapshot.sandboxes[self.pod_id]
        assert isinstance(entry, SandboxEntry)
        self.node.cache.publish(evolve(entry, network_mode="host"))
        self.assertEqual(self.pods(), [])

    def test_engine_away(self) -> None:
        """While the engine is away the list is NotReady, descriptors are answered, and Prometheus gets what runs."""
        self.node.cache.disconnected("no socket")
        self.assertRaises(NotReady, self.pods)
        names = {each.name for each in self.node.core.pod_metrics.list_descriptors().descriptors}
        self.assertIn("container_cpu_usage_seconds_total", names)
        self.assertNotIn("container_hugetlb_usage_bytes", names)
        self.assertEqual(len(list(self.node.core.pod_metrics.series())), 1)

    def test_engine_on_another_machine(self) -> None:
        """With an engine on another machine there are neither descriptors nor metrics."""
        self.assemble("tcp://192.0.2.1:2376")
        self.assertEqual(list(self.node.core.pod_metrics.list_descriptors().descriptors), [])
        self.assertEqual(self.pods(), [])

    def test_prometheus(self) -> None:
        """Prometheus' text has the same series with fractions; any text as a label is escaped."""
        entry = self.node.cache.snapshot.containers[self.first]
        self.node.cache.publish(evolve(entry, image='a"\n\\b'))
        text = generate_latest(Registry(self.node.core)).decode()  # type: ignore[arg-type]
        families = {family.name: family for family in text_string_to_metric_families(text)}
        samples = {one.labels["id"]: one for one in families["container_cpu_usage_seconds"].samples}
        self.assertEqual(samples[self.first].value, 2.5)
        self.assertEqual(set(samples[self.first].labels), {*LABELS, "cpu"})
        self.assertEqual(samples[self.first].labels["image"], 'a"\n\\b')
        self.assertEqual(families["container_cpu_usage_seconds"].type, "counter")
        self.assertEqual(families["container_processes"].type, "gauge")
        (failcnt, _) = families["container_memory_failcnt"].samples
        self.assertEqual((failcnt.name, failcnt.value), ("container_memory_failcnt", 3))
