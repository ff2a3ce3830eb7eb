"""The page's editions over time, and clients that read slowly or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from criwist.core.stats.stats import Stats
from criwist.metrics.page import page
from criwist.metrics.page.document import Edition
from criwist.metrics.page.figures import read_figures
from criwist.metrics.page.history import INTERVAL, Figure
from criwist.metrics.page.page import LINGER, UPDATE_INTERVAL, Page
from criwist.metrics.page.updates import MAX_CLIENTS, STALLED, Clients
from criwist.metrics.recorder import Recorder
from tests.core.memory_node import NodeTestCase


@define(eq=False)
class OpenRequest:
    """A request whose response does not end, as far as the updates use one."""

    written: list[bytes] = field(factory=list)
    producer: Any = None
    finished: bool = False
    aborted: bool = False
    _gone: Deferred[None] = field(factory=Deferred)

    @property
    def channel(self) -> OpenRequest:
        """The connection."""
        return self

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        verifyObject(IPushProducer, producer)
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def notifyFinish(self) -> Deferred[None]:
        return self._gone

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def finish(self) -> None:
        self.finished = True
        self._gone.callback(None)

    def forceAbortClient(self) -> None:
        self.aborted = True
        self._gone.errback(ConnectionAbortedError())


class ThreadClock(Clock):
    """A clock whose thread pool has this thread."""

    def getThreadPool(self) -> ThreadClock:
        return self

    def callInThreadWithCallback(
        self, on_result: Callable[..., None], function: Callable[..., Any], *args: Any
    ) -> None:
        """Call the function now."""
        on_result(True, function(*args))

    def callFromThread(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)


class PageTestCase(NodeTestCase):
    """A page of a node in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = ThreadClock()
        self.page = Page(self.clock, self.node.core, Recorder(), host="node")
        self.page.start()
        self.addCleanup(self.page.stop)
        self.readings = 0
        self.patch(page, "read_figures", self.counted)

    def counted(self, stats: Stats) -> dict[str, Figure]:
        """Count a reading."""
        self.readings += 1
        return read_figures(stats)

    def client(self) -> OpenRequest:
        """Return a client that has come."""
        request = OpenRequest()
        self.page._clients.add(request)  # type: ignore[arg-type]
        self.page._watch()
        return request

    def pass_time(self, seconds: float) -> None:
        """Let time pass, a tenth of a second at once."""
        self.clock.pump([0.1] * round(seconds * 10))


class EditionTests(PageTestCase):
    """When the kernel is read."""

    def test_nobody(self) -> None:
        """Before the first look nothing is scheduled."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.readings, 0)

    def test_one_look(self) -> None:
        """After a look without updates readings go on for a while, and then everything is forgotten."""
        self.assertIn(b"<title>criwist on node</title>", self.successResultOf(self.page.html()))
        self.pass_time(LINGER + 2 * INTERVAL)
        self.assertAlmostEqual(self.readings, LINGER / INTERVAL, delta=2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.page._edition)
        self.assertIn(b"<html", self.successResultOf(self.page.html()))

    def test_looks_at_once(self) -> None:
        """Looks that follow each other share an edition."""
        for _ in range(10):
            self.successResultOf(self.page.html())
        self.assertEqual((self.readings, self.page._edition and self.page._edition.number), (1, 0))

    def test_open_page(self) -> None:
        """An open page gets everything and then a change each second; the kernel is read every five."""
        request = self.client()
        self.assertEqual(request.written[0], b"retry: 3000\n\n")
        self.assertIn(b'"order"', request.written[1])
        self.pass_time(60)
        self.assertAlmostEqual(len(request.written), 60 / UPDATE_INTERVAL, delta=8)
        self.assertAlmostEqual(self.readings, 60 / INTERVAL, delta=2)
        self.assertLess(max(map(len, request.written[2:])), len(request.written[1]))
        self.run_pod("comes")
        self.pass_time(2)
        self.assertTrue(any(b"comes" in data for data in request.written[-3:]))

    def test_second_client(self) -> None:
        """A client that comes later gets everything first."""
        first = self.client()
        self.pass_time(10)
        second = self.client()
        self.pass_time(3)
        self.assertIn(b'"latencies":{"rows"', second.written[1])
        self.assertEqual(first.written[-1], second.written[-1])

    def test_failure(self) -> None:
        """When there is no edition, open pages are ended, which makes them say so, and the next look works."""
        request = self.client()
        self.pass_time(1)
        snapshot, self.node.cache.snapshot = self.node.cache.snapshot, None  # type: ignore[assignment]
        self.pass_time(2)
        self.assertTrue(request.finished)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.node.cache.snapshot = snapshot
        self.successResultOf(self.page.html())

    def test_stop(self) -> None:
        """At the end updates end, and nothing is scheduled."""
        request = self.client()
        self.page.stop()
        self.assertTrue(request.finished)
        self.pass_time(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SlowClientTests(PageTestCase):
    """Clients whose connection's buffer is full."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Clients(self.clock)
        self.request = OpenRequest()
        self.clients.add(self.request)  # type: ignore[arg-type]

    def publish(self, number: int) -> None:
        """Publish an edition."""
        self.clients.publish(Edition(number, "node", {"list": {}}, b"change %d" % number))

    def test_behind(self) -> None:
        """A client that does not read gets nothing, and everything once it reads again."""
        self.publish(5)
        self.request.producer.pauseProducing()
        self.publish(6)
        self.publish(7)
        self.assertEqual(len(self.request.written), 2)
        self.request.producer.resumeProducing()
        self.publish(8)
        self.publish(9)
        self.publish(9)
        whole = b'data: {"list":{"order":[]}}\n\n'
        self.assertEqual(self.request.written[1:], [whole, whole, b"change 9"])

    def test_stalled(self) -> None:
        """A client that does not read for long is disconnected, and makes room."""
        self.request.producer.pauseProducing()
        self.clock.advance(STALLED - 1)
        self.publish(1)
        self.request.producer.pauseProducing()
        self.assertFalse(self.request.aborted)
        self.clock.advance(2)
        self.publish(2)
        self.assertTrue(self.request.aborted)
        self.assertEqual(len(self.clients), 0)

    def test_full(self) -> None:
        """There is an end to the clients."""
        self.assertFalse(self.clients.full)
        for _ in range(MAX_CLIENTS - 1):
            self.clients.add(OpenRequest())  # type: ignore[arg-type]
        self.assertTrue(self.clients.full)
