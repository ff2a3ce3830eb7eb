"""Containers that the kernel killed for want of memory, from a log in memory."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from zope.interface import implementer

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import assemble
from criwist.interfaces.kernel_metrics import IOomKills
from tests.core.memory_node import NodeTestCase
from tests.core.state.test_event_counts import CountingMetrics


@implementer(IOomKills)
class MemoryLog:
    """A log to which the test adds kills."""

    available = True

    def __init__(self) -> None:
        self.kills: list[str] = []

    def read(self) -> Sequence[str]:
        kills, self.kills = self.kills, []
        return kills


class OomKillTests(NodeTestCase):
    """A container in a pod, on a node whose kernel's log can be read."""

    def setUp(self) -> None:
        super().setUp()
        self.log, self.metrics = MemoryLog(), CountingMetrics()
        self.assemble()
        self.pod_id = self.run_pod()
        self.container_id = self.run_container(self.pod_id)

    def assemble(self) -> None:
        """Assemble the node again, with this log."""
        self.node.feed.stop()
        adapters = evolve(self.node.adapters, oom_kills=self.log, metrics=self.metrics)
        core = self.node.core = assemble(config=self.node.config, adapters=adapters)
        self.node.cache, self.node.feed = core.cache, core.feed
        self.node.sandboxes, self.node.containers = core.sandboxes, core.containers
        self.node.start()

    def end(self, exit_code: int) -> str:
        """End the container's process; return the reason."""
        process = self.node.docker.containers.find(self.container_id).process
        assert process is not None
        process.end(exit_code)
        self.node.settle()
        return self.reason()

    def reason(self) -> str:
        """Return the reason of the container's end."""
        status = pb.ContainerStatus.FromString(self.node.cache.snapshot.containers[self.container_id].status)
        self.assertEqual(status.state, pb.CONTAINER_EXITED)
        return status.reason

    def test_killed(self) -> None:
        """A container that the kernel killed has the reason OOMKilled, whatever the engine says, and is counted."""
        self.log.kills = [self.container_id]
        self.assertEqual(self.end(137), "OOMKilled")
        self.assertEqual(self.metrics.killed, ["main"])

    def test_killed_by_others(self) -> None:
        """Another container's kill is no reason."""
        self.log.kills = ["f" * 64, self.pod_id]
        self.assertEqual(self.end(137), "Error")
        self.assertEqual(self.metrics.killed, [])

    def test_another_end(self) -> None:
        """A container that lost a process before it ended by itself has the reason of its end."""
        self.log.kills = [self.container_id]
        self.assertEqual(self.end(0), "Completed")

    def test_before_this_start(self) -> None:
        """After a restart of criwist the reason stays, and nothing is counted twice."""
        self.log.kills = [self.container_id]
        self.end(137)
        self.log.kills = [self.container_id]
        self.metrics.killed.clear()
        self.assemble()
        self.assertEqual(self.reason(), "OOMKilled")
        self.assertEqual(self.metrics.killed, [])

    def test_scrape(self) -> None:
        """Kills are counted at a scrape, and once for each."""
        self.log.kills = [self.container_id, self.container_id]
        self.node.core.oom_kills.read()
        self.node.core.oom_kills.read()
        self.assertEqual(self.metrics.killed, ["main", "main"])

    def test_event_of_the_engine(self) -> None:
        """The engine's event leads to a reading of the log, and is not counted besides."""
        self.log.kills = [self.container_id]
        self.node.core.oom_kills.event(self.container_id)
        self.assertEqual(self.metrics.killed, ["main"])

    def test_log_that_cannot_be_read(self) -> None:
        """Without the log the engine's events are counted, and its word is the reason."""
        self.log.available = False
        self.node.core.oom_kills.event(self.container_id)
        self.assertEqual(self.metrics.killed, ["main"])
        self.assertEqual(self.end(137), "Error")
