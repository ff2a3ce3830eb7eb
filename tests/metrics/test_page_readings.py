"""What the page remembers while it is looked at: figures, latencies, events and warnings."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from criwist.metrics.page.figures import read_figures
from criwist.metrics.page.history import INTERVAL, MAX_SERIES, POINTS, Figure, History
from criwist.metrics.page.latencies import KEPT, SPACING, WINDOW, Latencies
from criwist.metrics.page.markup import MAX_TEXT
from criwist.metrics.page.recent import RecentEvents, RecentWarnings
from criwist.metrics.page.state import collect
from tests.core.memory_node import NodeTestCase


def figure(seconds: float, cpu: float | None = 0.0, memory: int | None = 1, cores: float | None = None) -> Figure:
    """Return a figure at a time, with seconds of CPU time."""
    return Figure(int(seconds * 1e9), None if cpu is None else int(cpu * 1e9), cores, memory, None)


def known(values: list[float]) -> list[float]:
    """Return the values without gaps."""
    return [value for value in values if not math.isnan(value)]


class HistoryTests(SynchronousTestCase):
    """Points of figures."""

    def setUp(self) -> None:
        self.history = History()

    def test_rates(self) -> None:
        """CPU is the difference of two readings; the first has what the stats say, or a gap."""
        self.history.record(0, {"a": figure(0, 1, cores=0.25), "b": figure(0, 1)})
        self.history.record(5, {"a": figure(5, 2), "b": figure(5, 3.5)})
        self.assertEqual(known(self.history.cpu("a")), [0.25, 0.20000000298023224])
        self.assertEqual(known(self.history.cpu("b")), [0.5])
        self.assertEqual(len(self.history.cpu("a")), POINTS)
        cpu, memory = self.history.sums(["a", "b", "unknown"])
        self.assertAlmostEqual(cpu[-1], 0.7, 5)
        self.assertEqual(memory[-2:], [2, 2])

    def test_restarted(self) -> None:
        """CPU time that falls is another process's: a gap."""
        self.history.record(0, {"a": figure(0, 9)})
        self.history.record(5, {"a": figure(5, 1)})
        self.assertEqual(known(self.history.cpu("a")), [])

    def test_bounded(self) -> None:
        """The oldest points go, and no more series are remembered than there may be."""
        for point in range(POINTS + 10):
            self.history.record(point * INTERVAL, {"a": figure(point, memory=point)})
        self.assertEqual(self.history.memory("a"), [float(point) for point in range(10, POINTS + 10)])
        self.history.record(POINTS * INTERVAL, {str(number): figure(0) for number in range(MAX_SERIES + 5)})
        self.assertEqual(known(self.history.memory(str(MAX_SERIES))), [])

    def test_missed(self) -> None:
        """Readings that were missed are gaps, so that the time axis is right."""
        self.history.record(0, {"a": figure(0, memory=1)})
        self.history.record(INTERVAL * 4, {"a": figure(20, memory=2)})
        self.assertEqual([math.isnan(one) for one in self.history.memory("a")[-5:]], [False, True, True, True, False])
        self.history.record(1e9, {"a": figure(1e9, memory=3)})
        self.assertEqual(known(self.history.memory("a")), [3])

    def test_gone(self) -> None:
        """What is gone is forgotten when its last point is."""
        self.history.record(0, {"a": figure(0)})
        for point in range(1, POINTS + 1):
            self.history.record(point * INTERVAL, {})
        self.assertEqual(self.history._series, {})
        self.assertIsNone(self.history.limit("a"))
        self.history.record(0, {"a": figure(0)})
        self.history.clear()
        self.assertEqual(known(self.history.memory("a")), [])


class LatencyTests(SynchronousTestCase):
    """Durations since some minutes ago."""

    def setUp(self) -> None:
        registry = CollectorRegistry()
        self.calls = Histogram("calls", "text", ["method"], registry=registry, buckets=(0.1, 1, 10))
        self.plain = Histogram("plain", "text", registry=registry, buckets=(0.1, 1, 10))
        self.latencies = Latencies({"reactor": self.plain, "CRI": self.calls})

    def test_since(self) -> None:
        """Counts, means and bounds are those since criwist's start, and once that is possible of the last minutes."""
        self.calls.labels("Old").observe(5)
        self.plain.observe(0.05)
        reactor, old = self.latencies.read(0)
        self.assertEqual((reactor.group, reactor.count), ("reactor", 1))
        self.assertEqual((old.call, old.count, old.within), ("Old", 1, 10.0))
        self.calls.labels("New").observe(0.5)
        self.assertEqual([one.call for one in self.latencies.read(SPACING)], ["", "Old", "New"])
        self.assertTrue(self.latencies.since_start)
        for number in range(2, KEPT):
            latest = self.latencies.read(number * SPACING)
        self.assertFalse(self.latencies.since_start)
        (only,) = latest
        self.assertEqual((only.call, only.count, only.mean, only.within), ("New", 1, 0.5, 1.0))
        self.assertEqual(self.latencies.read(WINDOW + SPACING), ())

    def test_most(self) -> None:
        """The bound holds for 99 of 100 calls, and is infinite beyond the last bucket."""
        for _ in range(99):
            self.plain.observe(0.05)
        self.plain.observe(99)
        self.calls.labels("Slow").observe(99)
        self.assertEqual([one.within for one in self.latencies.read(0)], [0.1, math.inf])
        self.latencies.clear()
        self.assertEqual(len(self.latencies.read(1)), 2)


class WarningTests(SynchronousTestCase):
    """The log's last warnings."""

    def setUp(self) -> None:
        self.warnings = RecentWarnings()
        self.log = Logger("test", observer=LogPublisher(self.warnings))

    def test_levels(self) -> None:
        """Entries below warn are left out; a failure has its error's name and text."""
        self.log.info("nothing")
        self.log.warn("pod {pod}", pod="<b>\n\x1b")
        try:
            raise ValueError("wrong")
        except ValueError:
            self.log.failure("it broke")
        newest, oldest = self.warnings.newest()
        self.assertEqual((oldest.level, oldest.text), ("warn", "pod <b> \N{REPLACEMENT CHARACTER}"))
        self.assertEqual((newest.level, newest.text), ("critical", "it broke: ValueError: wrong"))

    def test_bounded(self) -> None:
        """A log that never ends takes little memory."""
        for number in range(1000):
            self.log.warn("{text}", text="x" * 10_000 + str(number))
        kept = self.warnings.newest()
        self.assertEqual(len(kept), 50)
        self.assertEqual({len(one.text) for one in kept}, {MAX_TEXT})
        self.assertEqual(kept[0].number, 999)


class EventTests(NodeTestCase):
    """Events of a node in memory, and its state."""

    def setUp(self) -> None:
        super().setUp()
        self.events = RecentEvents(self.node.cache, lambda: 7.0)

    def seen(self) -> list[tuple[str, str, str]]:
        """Return the events, oldest first."""
        return [(one.kind, one.container, one.detail) for one in reversed(self.events.newest())]

    def test_life_of_a_pod(self) -> None:
        """What happens to a pod and to its container is an event."""
        pod_id = self.run_pod()
        container_id = self.run_container(pod_id)
        self.successResultOf(self.node.run(self.node.containers.stop(container_id, 0)))
        self.successResultOf(self.node.run(self.node.containers.remove(container_id)))
        self.assertEqual(
            self.seen()[:4], [(kind, name, "") for name in ("", "main") for kind in ("created", "started")]
        )
        kind, name, detail = self.seen()[4]
        self.assertEqual((kind, name), ("stopped", "main"))
        self.assertTrue(detail.startswith("exit "))
        self.assertEqual(self.seen()[5], ("deleted", "main", ""))
        self.assertEqual({(one.at, one.namespace, one.pod) for one in self.events.newest()}, {(7.0, "default", "pod")})

    def test_first_listing(self) -> None:
        """What existed before criwist's start did not happen now."""
        self.run_container(self.run_pod())
        self.node.feed.stop()
        self.node.build()
        self.events = RecentEvents(self.node.cache)
        self.node.start()
        self.assertEqual(len(self.node.cache.snapshot.containers), 1)
        self.assertEqual(self.seen(), [])
        self.run_pod("other")
        self.assertEqual([kind for kind, _, _ in self.seen()], ["created", "started"])

    def test_state(self) -> None:
        """The state has the conditions with their reasons, also while Docker is away."""

        def conditions() -> list[tuple[str, bool, str]]:
            parts: dict[str, Any] = {"host": "h", "started": 0.0, "at": 1.0, "events": (), "warnings": ()}
            return [(one.name, one.true, one.reason) for one in collect(self.node.core, **parts).conditions]

        self.assertEqual(conditions(), [("RuntimeReady", True, ""), ("NetworkReady", True, "")])
        self.node.cache.disconnected("no socket")
        self.assertEqual(conditions()[0], ("RuntimeReady", False, "DockerIsAway"))

    def test_figures_without_docker(self) -> None:
        """While Docker is away there are no figures."""
        self.node.cache.disconnected("no socket")
        self.assertEqual(read_figures(self.node.core.stats), {})
