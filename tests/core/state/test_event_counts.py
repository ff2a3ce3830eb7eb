"""Events are counted once, whatever a reconnection repeats."""

from __future__ import annotations

from criwist.interfaces.metrics import NoMetrics
from criwist.names import ContainerName
from tests.core.memory_node import NodeTestCase


class CountingMetrics(NoMetrics):
    """Records what the event feed counts."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.killed: list[str] = []
        self.breaks = 0

    def event(self, lag: float) -> None:
        self.lags.append(lag)

    def oom_kill(self, name: ContainerName) -> None:
        self.killed.append(name.container)

    def disconnected(self) -> None:
        self.breaks += 1


class EventCountTests(NodeTestCase):
    """What the event feed counts."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = CountingMetrics()
        self.feed = self.node.feed
        self.feed._metrics = self.metrics
        self.node.core.oom_kills._metrics = self.metrics

    def event(self, identifier: str, time: float) -> None:
        """Deliver an oom event of that time, seconds since the epoch."""
        self.feed._dispatch(
            {"Type": "container", "Action": "oom", "Actor": {"ID": identifier}, "timeNano": int(time * 1e9)}
        )

    def test_repeated(self) -> None:
        """A resumed feed begins with the last event, which is not counted again."""
        container_id = self.run_container(self.run_pod())
        time = 2e9
        self.node.clock.advance(time + 1 - self.node.clock.seconds())
        self.metrics.lags.clear()
        self.event(container_id, time)
        self.assertEqual((self.metrics.killed, self.metrics.lags), (["main"], [1.0]))
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.clock.advance(5)
        self.node.settle()
        self.assertTrue(self.node.cache.snapshot.fresh)
        self.event(container_id, time)
        self.assertEqual((self.metrics.killed, self.metrics.lags), (["main"], [1.0]))
        self.event(container_id, time + 2)
        self.assertEqual((self.metrics.killed, self.metrics.lags), (["main", "main"], [1.0, 4.0]))

    def test_others(self) -> None:
        """Containers that no pod has, and events without a time, count no kill; a clock that is ahead is no lag."""
        self.event("0" * 64, self.node.clock.seconds() + 1000)
        self.feed._dispatch({"Type": "container", "Action": "oom", "Actor": {"ID": "0" * 64}})
        self.feed._dispatch({"Type": "container", "Action": "oom", "Actor": None, "timeNano": 10**30})
        self.assertEqual(self.metrics.killed, [])
        self.assertEqual(self.metrics.lags[-1], 0.0)

    def test_break(self) -> None:
        """A break of the feed and each failed attempt to connect count."""
        self.node.docker.away()
        self.node.settle()
        self.assertEqual(self.metrics.breaks, 1)
        self.node.clock.advance(1)
        self.node.settle()
        self.assertEqual(self.metrics.breaks, 2)
