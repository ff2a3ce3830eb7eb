"""Stats of a node in memory, with a kernel in memory."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import assemble
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.state.not_ready import NotReady
from criwist.errors import NotFound
from criwist.interfaces.kernel import CgroupUsage, InterfaceUsage, IUsage, NetworkUsage
from tests.core.memory_node import NodeTestCase


@implementer(IUsage)
@define(eq=False)
class MemoryUsage:
    """A kernel that knows the containers in ``cpu``, by the CPU time that they used."""

    cpu: dict[str, int] = field(factory=dict)
    #: CPU time of a pod's own cgroup, by its path.
    parents: dict[str, int] = field(factory=dict)
    forgotten: list[str] = field(factory=list)

    def container(self, pid: int, container_id: str) -> CgroupUsage | None:
        cpu = self.cpu.get(container_id)
        return None if cpu is None else CgroupUsage(1, 2, cpu=cpu, tasks=1)

    def parent(self, pid: int, container_id: str, cgroup_parent: str) -> CgroupUsage | None:
        cpu = self.parents.get(cgroup_parent)
        return None if cpu is None else CgroupUsage(1, 2, cpu=cpu)

    def network(self, pid: int, container_id: str) -> NetworkUsage | None:
        return NetworkUsage(3, InterfaceUsage("eth0", 1, 0, 2, 0))

    def forget(self, container_id: str) -> None:
        self.forgotten.append(container_id)


class StatsTests(NodeTestCase):
    """A pod with two containers."""

    def setUp(self) -> None:
        super().setUp()
        self.usage = MemoryUsage()
        self.assemble(self.node.config.docker_endpoint)
        self.pod_id = self.run_pod()
        self.first = self.run_container(self.pod_id, "first")
        self.second = self.run_container(self.pod_id, "second")
        self.usage.cpu = {self.pod_id: 1, self.first: 10, self.second: 100}

    def assemble(self, endpoint: str) -> None:
        """Assemble the node again, with this kernel and an engine at *endpoint*."""
        self.node.feed.stop()
        config = evolve(self.node.config, docker_endpoint=endpoint)
        core = self.node.core = assemble(config=config, adapters=evolve(self.node.adapters, usage=self.usage))
        self.node.cache, self.node.feed = core.cache, core.feed
        self.node.sandboxes, self.node.containers = core.sandboxes, core.containers
        self.node.start()

    def container(self, container_id: str) -> pb.ContainerStats:
        """Return the stats of a container."""
        return pb.ContainerStatsResponse.FromString(self.node.core.stats.container(container_id)).stats

    def containers(self, **wanted: str) -> dict[str, int]:
        """Return the CPU times of the listed containers by id."""
        listed = self.node.core.stats.containers(pb.ContainerStatsFilter(**wanted))  # type: ignore[arg-type]
        stats = pb.ListContainerStatsResponse.FromString(listed).stats
        return {each.attributes.id: each.cpu.usage_core_nano_seconds.value for each in stats}

    def pod(self) -> pb.PodSandboxStats:
        """Return the stats of the pod."""
        return pb.PodSandboxStatsResponse.FromString(self.node.core.stats.pod(self.pod_id)).stats

    def pods(self) -> list[pb.PodSandboxStats]:
        """Return the stats of all pods."""
        listed = self.node.core.stats.pods(pb.PodSandboxStatsFilter())
        return list(pb.ListPodSandboxStatsResponse.FromString(listed).stats)

    def publish_pod(self, **changes: Any) -> None:
        """Publish the pod's entry with other members."""
        entry = self.node.cache.snapshot.sandboxes[self.pod_id]
        assert isinstance(entry, SandboxEntry)
        self.node.cache.publish(evolve(entry, **changes))

    def test_container(self) -> None:
        """A container has the attributes of its item in the list, and its figures."""
        stats = self.container(self.first)
        self.assertEqual((stats.attributes.id, stats.attributes.metadata.name), (self.first, "first"))
        self.assertEqual(stats.cpu.usage_core_nano_seconds.value, 10)
        self.assertFalse(stats.HasField("writable_layer"))

    def test_containers(self) -> None:
        """A list has the running containers that pass the filter."""
        self.assertEqual(self.containers(), {self.first: 10, self.second: 100})
        self.assertEqual(self.containers(id=self.second), {self.second: 100})
        self.assertEqual(self.containers(pod_sandbox_id="other"), {})

    def test_container_that_ends_meanwhile(self) -> None:
        """A container that the kernel does not know any more is left out of lists."""
        del self.usage.cpu[self.first]
        self.assertEqual(self.containers(), {self.second: 100})
        self.assertEqual([each.attributes.id for each in self.pod().linux.containers], [self.second])
        self.assertFalse(self.container(self.first).HasField("cpu"))

    def test_container_that_has_ended(self) -> None:
        """A container that does not run is in no list, has no figures, and its cgroup is forgotten."""
        self.successResultOf(self.node.run(self.node.containers.stop(self.first, 0)))
        self.assertEqual(self.containers(), {self.second: 100})
        self.assertEqual(self.container(self.first).attributes.id, self.first)
        self.assertFalse(self.container(self.first).HasField("cpu"))
        self.assertIn(self.first, self.usage.forgotten)

    def test_unknown(self) -> None:
        """An unknown id is NotFound."""
        self.assertRaises(NotFound, self.container, "unknown")
        self.assertRaises(NotFound, self.node.core.stats.pod, "unknown")

    def test_stale(self) -> None:
        """While the engine is away the stats are NotReady, as the lists are."""
        self.node.cache.disconnected("no socket")
        self.assertRaises(NotReady, self.containers)
        self.assertRaises(NotReady, self.pods)

    def test_sum_of_a_pod(self) -> None:
        """Without a cgroup of its own a pod has the sum of the pause container and the others."""
        linux = self.pod().linux
        self.assertEqual((linux.cpu.usage_core_nano_seconds.value, linux.process.process_count.value), (111, 3))
        self.assertEqual(linux.network.default_interface.name, "eth0")
        self.assertEqual({each.attributes.id for each in linux.containers}, {self.first, self.second})

    def test_cgroup_of_a_pod(self) -> None:
        """A pod with a cgroup of its own has that cgroup's figures."""
        self.usage.parents["/kubepods/pod1"] = 5000
        self.publish_pod(cgroup_parent="/kubepods/pod1")
        self.assertEqual([each.linux.cpu.usage_core_nano_seconds.value for each in self.pods()], [5000])

    def test_cgroup_of_several_pods(self) -> None:
        """A cgroup that two pods name is neither's."""
        self.usage.parents["/kubepods"] = 5000
        self.publish_pod(cgroup_parent="/kubepods")
        other = evolve(self.node.cache.snapshot.sandboxes[self.pod_id], id="f" * 64)
        self.node.cache.publish(other)
        self.assertEqual([each.linux.cpu.usage_core_nano_seconds.value for each in self.pods()], [111])

    def test_nodes_network(self) -> None:
        """A pod on the node's network has no network figures."""
        self.publish_pod(network_mode="host")
        self.assertFalse(self.pod().linux.HasField("network"))

    def test_pod_that_ends_meanwhile(self) -> None:
        """A pod whose pause container has ended is left out of lists; alone it has no figures, but ``linux``."""
        del self.usage.cpu[self.pod_id]
        self.assertEqual(self.pods(), [])
        self.assertTrue(self.pod().HasField("linux"))
        self.assertFalse(self.pod().linux.HasField("cpu"))

    def test_engine_on_another_machine(self) -> None:
        """With an engine on another machine the lists are complete and the kernel is not read."""
        self.assemble("tcp://192.0.2.1:2376")
        self.assertEqual(self.containers(), {self.first: 0, self.second: 0})
        self.assertFalse(self.container(self.first).HasField("cpu"))
        (pod,) = self.pods()
        self.assertFalse(pod.linux.HasField("cpu"))
        self.assertFalse(pod.linux.HasField("network"))
        self.assertEqual(len(pod.linux.containers), 2)

    def test_entries_know_their_places(self) -> None:
        """An entry has the directory of the writable layer that the engine names, and nothing without one."""
        entry = self.node.cache.snapshot.containers[self.first]
        assert isinstance(entry, ContainerEntry)
        self.assertEqual(entry.upper_directory, "")
