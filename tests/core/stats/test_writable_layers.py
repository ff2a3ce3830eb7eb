"""When writable layers are measured."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from criwist.core.stats.writable_layers import FIRST_AFTER, WritableLayers
from criwist.interfaces.kernel import ILayerUsage, LayerUsage
from tests.core.memory_node import NodeTestCase

INTERVAL = 60.0


@implementer(ILayerUsage)
@define(eq=False)
class HeldMeasurements:
    """Measurements that end when the test says so."""

    running: list[tuple[str, Deferred[LayerUsage | None]]] = field(factory=list)
    stopped: bool = False

    async def measure(self, container_id: str, directory: str) -> LayerUsage | None:
        result: Deferred[LayerUsage | None] = Deferred()
        self.running.append((container_id, result))
        return await result

    def stop(self) -> None:
        self.stopped = True

    def end(self, usage: LayerUsage | None) -> str:
        """End the one that runs; return its container."""
        ((container_id, result),) = self.running
        self.running.clear()
        result.callback(usage)
        return container_id


class WritableLayersTests(NodeTestCase):
    """A node with a pod."""

    def setUp(self) -> None:
        super().setUp()
        self.measurements = HeldMeasurements()
        self.layers = WritableLayers(self.node.clock, self.node.cache, self.measurements, INTERVAL)
        self.addCleanup(self.layers.stop)
        self.pod_id = self.run_pod()

    def measured(self) -> list[str]:
        """Return the containers that are being measured."""
        return [container_id for container_id, _ in self.measurements.running]

    def test_soon_and_then_after_each_interval(self) -> None:
        """A container is measured soon after its start and then after each interval; the last result counts."""
        container_id = self.run_container(self.pod_id)
        self.assertIsNone(self.layers.of(container_id))
        self.node.clock.advance(FIRST_AFTER)
        self.assertEqual(self.measured(), [container_id])
        self.measurements.end(LayerUsage(1, 4096, 1))
        self.assertEqual(self.layers.of(container_id), LayerUsage(1, 4096, 1))
        self.node.clock.advance(INTERVAL - 1)
        self.assertEqual(self.measured(), [])
        self.node.clock.advance(1)
        self.measurements.end(LayerUsage(2, 8192, 2))
        self.assertEqual(self.layers.of(container_id), LayerUsage(2, 8192, 2))

    def test_one_at_a_time(self) -> None:
        """While one layer is measured, however long, no other is."""
        first = self.run_container(self.pod_id, "first")
        self.node.clock.advance(0.5)
        second = self.run_container(self.pod_id, "second")
        self.node.clock.advance(10 * INTERVAL)
        self.assertEqual(self.measured(), [first])
        self.measurements.end(LayerUsage(1, 1, 1))
        self.node.clock.advance(0)
        self.assertEqual(self.measured(), [second])

    def test_failed_measurement(self) -> None:
        """A measurement without a result keeps the last one, and one that fails harms no other."""
        container_id = self.run_container(self.pod_id)
        self.node.clock.advance(FIRST_AFTER)
        self.measurements.end(LayerUsage(1, 1, 1))
        self.node.clock.advance(INTERVAL)
        self.measurements.end(None)
        self.assertEqual(self.layers.of(container_id), LayerUsage(1, 1, 1))
        self.node.clock.advance(INTERVAL)
        _, result = self.measurements.running.pop()
        result.errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.node.clock.advance(INTERVAL)
        self.assertEqual(self.measured(), [container_id])

    def test_ended_container(self) -> None:
        """A container that has ended keeps its last result until it is removed, and is not measured."""
        container_id = self.run_container(self.pod_id)
        self.node.clock.advance(FIRST_AFTER)
        self.measurements.end(LayerUsage(1, 1, 1))
        self.successResultOf(self.node.run(self.node.containers.stop(container_id, 0)))
        self.node.clock.advance(2 * INTERVAL)
        self.assertEqual(self.measured(), [])
        self.assertIsNotNone(self.layers.of(container_id))
        self.successResultOf(self.node.run(self.node.containers.remove(container_id)))
        self.assertIsNone(self.layers.of(container_id))

    def test_removed_during_the_measurement(self) -> None:
        """The result for a container that was removed meanwhile is dropped."""
        container_id = self.run_container(self.pod_id)
        self.node.clock.advance(FIRST_AFTER)
        self.successResultOf(self.node.run(self.node.containers.remove(container_id)))
        self.measurements.end(LayerUsage(1, 1, 1))
        self.assertIsNone(self.layers.of(container_id))

    def test_off(self) -> None:
        """Without an interval nothing is measured."""
        measurements = HeldMeasurements()
        WritableLayers(self.node.clock, self.node.cache, measurements, 0.0)
        self.run_container(self.pod_id)
        self.node.clock.advance(2 * INTERVAL)
        self.assertEqual(measurements.running, [])

    def test_stop(self) -> None:
        """After the stop no measurement starts, and the walk in progress is told."""
        self.run_container(self.pod_id)
        self.layers.stop()
        self.run_container(self.pod_id, "second")
        self.node.clock.advance(2 * INTERVAL)
        self.assertEqual(self.measured(), [])
        self.assertTrue(self.measurements.stopped)
