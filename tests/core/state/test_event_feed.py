"""The copy stays fresh, and says so when it does not."""

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
from tests.core.memory_node import MemoryNode, NotedLogs
from tests.core.sandboxes.test_sandboxes import PodsTestCase
from tests.doubles.memory_docker import MemoryDocker

PAUSE_NAME = "k8s_POD_pod_default_uid-pod_0"


class SteadyStateTests(PodsTestCase):
    """While the feed stands."""

    def test_reading_asks_docker_nothing(self) -> None:
        """The snapshot answers without a call."""
        self.run_container(self.run_pod())
        self.node.docker.requests.clear()
        snapshot = self.node.cache.current()
        self.assertEqual(len(snapshot.newest_containers), 1)
        self.assertTrue(snapshot.list_containers_response)
        self.assertEqual(self.node.docker.requests, [])

    def test_changes_behind_our_back_show(self) -> None:
        """What others do to a container is seen by its events."""
        sandbox_id = self.run_pod()
        self.node.docker.kill(PAUSE_NAME)
        self.node.settle()
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)
        self.node.docker.remove(PAUSE_NAME)
        self.node.settle()
        self.assertEqual(self.node.cache.current().sandboxes, {})

    def test_others_containers_cost_nothing(self) -> None:
        """A container that no Kubernetes shim made is neither shown nor inspected."""
        self.node.docker.requests.clear()
        self.successResultOf(self.node.run(self.node.docker.client.create_container("mine", {"Image": "busybox"})))
        self.assertEqual([one for one in self.node.docker.requests if one.endswith("/json")], [])
        self.assertEqual(self.node.cache.current().containers, {})

    def test_storm_is_coalesced(self) -> None:
        """Many events of one container while it is being inspected cost one more inspection."""
        sandbox_id = self.run_pod()
        self.node.docker.requests.clear()
        held = self.node.docker.hold(f"GET /containers/{sandbox_id}/json")
        for _ in range(20):
            self.node.run(self.node.cache.refresh(sandbox_id))
        held.release()
        self.node.settle()
        self.assertEqual(len(self.node.docker.requests), 2)


class EngineAwayTests(PodsTestCase):
    """While the engine is away."""

    def test_stale_at_once(self) -> None:
        """Reads are refused as stale, and waiting for freshness fails with the reason."""
        self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.assertRaises(NotReady, self.node.cache.current)
        self.failureResultOf(self.node.run(self.node.cache.ready()), errors.Unavailable)

    def test_engine_comes_back(self) -> None:
        """The copy is fresh again, with what happened meanwhile."""
        sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.docker.kill(PAUSE_NAME)
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_starts_without_an_engine(self) -> None:
        """criwist may be there first."""
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
        """An engine that answers nonsense is tried again."""
        node = MemoryNode()
        self.addCleanup(node.close)
        node.docker.version["ApiVersion"] = "not a version"
        node.start()
        del node.docker.version["ApiVersion"]
        node.clock.advance(MAX_BACKOFF)
        node.settle()
        self.flushLoggedErrors()
        self.successResultOf(node.run(node.cache.ready()))


class HalfAnEngineTests(PodsTestCase):
    """While the engine answers, but not everything."""

    def setUp(self) -> None:
        """A pod whose pause was killed while the engine was away; the next meeting is not yet."""
        super().setUp()
        self.sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.docker.kill(PAUSE_NAME)

    def meet(self) -> None:
        """Wait until the engine is tried again."""
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()

    def test_listing_that_failed_is_repeated(self) -> None:
        """The event feed stands and the listing fails: the copy is not believed until one has worked."""
        self.node.docker.fail("GET /containers/json", 500, "out of memory")
        self.meet()
        self.assertRaises(NotReady, self.node.cache.current)
        self.assertIn("out of memory", str(self.node.cache.disconnect_reason))
        self.meet()
        self.assertFalse(self.node.cache.current().sandbox(self.sandbox_id).ready)

    def test_inspection_without_an_answer(self) -> None:
        """An inspection that is not answered in time says nothing of the container: all is listed anew."""
        held = self.node.docker.hold(f"GET /containers/{self.sandbox_id}/json")
        self.meet()
        for _ in range(30):
            self.meet()
        self.assertRaises(NotReady, self.node.cache.current)
        held.release()
        self.meet()
        self.assertFalse(self.node.cache.current().sandbox(self.sandbox_id).ready)

    def test_event_whose_container_is_not_told(self) -> None:
        """A change that could not be looked at is not forgotten."""
        self.meet()
        container_id = self.run_container(self.run_pod("other"))
        held = self.node.docker.hold(f"GET /containers/{container_id}/json")
        self.node.docker.kill(container_id)
        for _ in range(30):
            self.meet()
        held.release()
        self.meet()
        self.assertTrue(self.node.cache.current().container(container_id).exited)

    def test_container_that_cannot_be_inspected(self) -> None:
        """It is shown as the engine lists it, and holds up nobody else."""
        self.node.docker.fail(f"GET /containers/{self.sandbox_id}/json", 500, "RWLayer is unexpectedly nil")
        self.meet()
        entry = self.node.cache.current().sandbox(self.sandbox_id)
        self.assertFalse(entry.ready)
        status = pb.PodSandboxStatus.FromString(entry.status)
        self.assertEqual((status.metadata.name, status.metadata.namespace), ("pod", "default"))

    def test_container_that_is_neither_inspected_nor_listed(self) -> None:
        """It is gone."""
        self.node.docker.remove(PAUSE_NAME)
        self.node.docker.fail(f"GET /containers/{self.sandbox_id}/json", 500, "being removed")
        self.meet()
        self.assertEqual(self.node.cache.current().sandboxes, {})


class StrangeContainerTests(SynchronousTestCase):
    """A container whose description fails in a way that nobody foresaw."""

    def test_others_are_seen(self) -> None:
        """Whoever asked for it hears of the fault, the log tells more, and the copy becomes fresh."""
        docker = MemoryDocker(Clock())
        docker.images.add("busybox")

        def describe(inspected: Any) -> None:
            raise ZeroDivisionError("strange")

        cache = Cache(docker.client, NotedLogs(), describe)
        body = {"Image": "busybox", "Labels": {"io.kubernetes.docker.type": "container"}}
        creating = Deferred.fromCoroutine(docker.client.create_container("k8s_c_pod_ns_uid_0", body))
        docker.network.settle()
        container_id = self.successResultOf(creating)
        refreshing = Deferred.fromCoroutine(cache.refresh(container_id))
        taking_over = Deferred.fromCoroutine(cache.resync(_nothing))
        docker.network.settle()
        self.failureResultOf(refreshing, errors.Internal)
        self.successResultOf(taking_over)
        self.assertTrue(cache.current().fresh)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


async def _nothing() -> None:
    """There is nothing to do before the copy is used."""
