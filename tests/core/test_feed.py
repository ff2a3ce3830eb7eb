"""The copy stays fresh, and says so when it does not."""

from __future__ import annotations

from criwist import errors
from criwist.core.cache import Stale
from criwist.core.feed import LONGEST_PAUSE
from tests.core.memory_node import MemoryNode
from tests.core.test_pods import PodsTestCase

PAUSE_NAME = "k8s_POD_pod_default_uid-pod_0"


class SteadyStateTests(PodsTestCase):
    """While the feed stands."""

    def test_reading_asks_docker_nothing(self) -> None:
        """The snapshot answers without a call."""
        self.run_container(self.run_pod())
        self.node.docker.requests.clear()
        snapshot = self.node.cache.current()
        self.assertEqual(len(snapshot.newest_containers), 1)
        self.assertTrue(snapshot.all_containers)
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
        self.assertRaises(Stale, self.node.cache.current)
        self.failureResultOf(self.node.run(self.node.cache.ready()), errors.Unavailable)

    def test_engine_comes_back(self) -> None:
        """The copy is fresh again, with what happened meanwhile."""
        sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.docker.kill(PAUSE_NAME)
        self.node.clock.advance(LONGEST_PAUSE)
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
        node.clock.advance(LONGEST_PAUSE)
        node.settle()
        self.successResultOf(node.run(node.cache.ready()))

    def test_strange_answers_do_not_end_the_feed(self) -> None:
        """An engine that answers nonsense is tried again."""
        node = MemoryNode()
        self.addCleanup(node.close)
        node.docker.version["ApiVersion"] = "not a version"
        node.start()
        del node.docker.version["ApiVersion"]
        node.clock.advance(LONGEST_PAUSE)
        node.settle()
        self.flushLoggedErrors()
        self.successResultOf(node.run(node.cache.ready()))
