"""The event feed keeps the cache fresh, and the cache is stale without it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.cache import Cache
from criwist.core.state.event_feed import MAX_BACKOFF
from criwist.core.state.not_ready import NotReady
from tests.core.memory_node import MemoryNode, NodeTestCase, RecordingLogs
from tests.doubles.memory_docker import MemoryDocker

PAUSE_NAME = "k8s_POD_pod_default_uid-pod_0"


class StartTests(SynchronousTestCase):
    """The first connection."""

    def test_an_image_that_comes_meanwhile(self) -> None:
        """An image that is made before the feed is established, after which its event would come, is in the cache."""
        node = MemoryNode()
        self.addCleanup(node.close)
        held = node.docker.hold("GET /events")
        node.start()
        node.docker.images.add("late:1")
        held.release()
        node.settle()
        self.assertTrue(node.cache.snapshot.fresh)
        self.assertIsNotNone(node.core.images.snapshot.status("late:1"))


class SteadyStateTests(NodeTestCase):
    """While the feed is up."""

    def test_reads_make_no_request(self) -> None:
        """The snapshot is read without a request to Docker."""
        self.run_container(self.run_pod())
        self.node.docker.requests.clear()
        snapshot = self.node.cache.current()
        self.assertEqual(len(snapshot.newest_containers), 1)
        self.assertTrue(snapshot.list_containers_response)
        self.assertEqual(self.node.docker.requests, [])

    def test_changes_by_other_clients(self) -> None:
        """Another client's change of a container is in the cache after its event."""
        sandbox_id = self.run_pod()
        self.node.docker.kill(PAUSE_NAME)
        self.node.settle()
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)
        self.node.docker.remove(PAUSE_NAME)
        self.node.settle()
        self.assertEqual(self.node.cache.current().sandboxes, {})

    def test_others_containers_cost_nothing(self) -> None:
        """A container that no Kubernetes shim made is neither listed nor inspected."""
        self.node.docker.requests.clear()
        self.successResultOf(self.node.run(self.node.docker.client.create_container("mine", {"Image": "busybox"})))
        self.assertEqual([one for one in self.node.docker.requests if one.endswith("/json")], [])
        self.assertEqual(self.node.cache.current().containers, {})

    def test_storm_is_coalesced(self) -> None:
        """Many refreshes of one container during its inspection cost one more inspection."""
        sandbox_id = self.run_pod()
        self.node.docker.requests.clear()
        held = self.node.docker.hold(f"GET /containers/{sandbox_id}/json")
        for _ in range(20):
            self.node.run(self.node.cache.refresh(sandbox_id))
        held.release()
        self.node.settle()
        self.assertEqual(len(self.node.docker.requests), 2)


class EngineAwayTests(NodeTestCase):
    """While the engine is disconnected."""

    def test_stale_at_once(self) -> None:
        """Reads are NotReady, and waiting for a fresh snapshot fails with the reason."""
        self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.assertRaises(NotReady, self.node.cache.current)
        self.failureResultOf(self.node.run(self.node.cache.ready()), errors.Unavailable)

    def test_engine_comes_back(self) -> None:
        """After the reconnection the cache is fresh, with the changes made meanwhile."""
        sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.docker.kill(PAUSE_NAME)
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_starts_without_an_engine(self) -> None:
        """criwist may start before the engine."""
        node = MemoryNode()
        self.addCleanup(node.close)
        node.docker.away()
        node.start()
        self.failureResultOf(node.run(node.cache.ready()), errors.Unavailable)
        node.docker.back()
        node.clock.advance(MAX_BACKOFF)
        node.settle()
        self.successResultOf(node.run(node.cache.ready()))

    def test_strange_answers_do_not_end_the_feed(self) -> None:
        """After an answer that cannot be parsed criwist reconnects."""
        node = MemoryNode()
        self.addCleanup(node.close)
        node.docker.version["ApiVersion"] = "not a version"
        node.start()
        del node.docker.version["ApiVersion"]
        node.clock.advance(MAX_BACKOFF)
        node.settle()
        self.flushLoggedErrors()
        self.successResultOf(node.run(node.cache.ready()))


class HalfAnEngineTests(NodeTestCase):
    """While the engine answers some requests only."""

    def setUp(self) -> None:
        """Kill a pod's pause while the engine is disconnected; criwist has not reconnected yet."""
        super().setUp()
        self.sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.docker.kill(PAUSE_NAME)

    def reconnect(self) -> None:
        """Advance to the next attempt to connect."""
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()

    def test_listing_that_failed_is_repeated(self) -> None:
        """While the feed is up and the listing fails, the cache stays stale until a listing succeeds."""
        self.node.docker.fail("GET /containers/json", 500, "out of memory")
        self.reconnect()
        self.assertRaises(NotReady, self.node.cache.current)
        self.assertIn("out of memory", str(self.node.cache.disconnect_reason))
        self.reconnect()
        self.assertFalse(self.node.cache.current().sandbox(self.sandbox_id).ready)

    def test_inspection_without_an_answer(self) -> None:
        """An inspection without an answer in time leads to another resync."""
        held = self.node.docker.hold(f"GET /containers/{self.sandbox_id}/json")
        self.reconnect()
        for _ in range(30):
            self.reconnect()
        self.assertRaises(NotReady, self.node.cache.current)
        held.release()
        self.reconnect()
        self.assertFalse(self.node.cache.current().sandbox(self.sandbox_id).ready)

    def test_event_whose_inspection_has_no_answer(self) -> None:
        """A change whose inspection failed is read at the next resync."""
        self.reconnect()
        container_id = self.run_container(self.run_pod("other"))
        held = self.node.docker.hold(f"GET /containers/{container_id}/json")
        self.node.docker.kill(container_id)
        for _ in range(30):
            self.reconnect()
        held.release()
        self.reconnect()
        self.assertTrue(self.node.cache.current().container(container_id).exited)

    def test_container_that_cannot_be_inspected(self) -> None:
        """It is published as the engine lists it, and does not delay the others."""
        self.node.docker.fail(f"GET /containers/{self.sandbox_id}/json", 500, "RWLayer is unexpectedly nil")
        self.reconnect()
        entry = self.node.cache.current().sandbox(self.sandbox_id)
        self.assertFalse(entry.ready)
        status = pb.PodSandboxStatus.FromString(entry.status)
        self.assertEqual((status.metadata.name, status.metadata.namespace), ("pod", "default"))

    def test_container_that_is_neither_inspected_nor_listed(self) -> None:
        """It is dropped from the cache."""
        self.node.docker.remove(PAUSE_NAME)
        self.node.docker.fail(f"GET /containers/{self.sandbox_id}/json", 500, "being removed")
        self.reconnect()
        self.assertEqual(self.node.cache.current().sandboxes, {})


class StrangeContainerTests(SynchronousTestCase):
    """A container for which making an entry raises an unexpected error."""

    def test_others_are_seen(self) -> None:
        """The caller of ``refresh`` gets the error, which is logged, and the cache becomes fresh."""
        docker = MemoryDocker(Clock())
        docker.images.add("busybox")

        def describe(inspected: Any) -> None:
            raise ZeroDivisionError("strange")

        cache = Cache(docker.client, RecordingLogs(), describe)
        body = {"Image": "busybox", "Labels": {"io.kubernetes.docker.type": "container"}}
        creating = Deferred.fromCoroutine(docker.client.create_container("k8s_c_pod_ns_uid_0", body))
        docker.network.settle()
        container_id = self.successResultOf(creating)
        refreshing = Deferred.fromCoroutine(cache.refresh(container_id))
        resyncing = Deferred.fromCoroutine(cache.resync(_nothing))
        docker.network.settle()
        self.failureResultOf(refreshing, errors.Internal)
        self.successResultOf(resyncing)
        self.assertTrue(cache.current().fresh)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


async def _nothing() -> None:
    """Do nothing before the cache is fresh."""
