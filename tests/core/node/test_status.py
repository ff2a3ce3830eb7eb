"""What the node says of itself."""

from __future__ import annotations

from criwist.config import Config
from criwist.core.node.status import NodeStatus
from criwist.core.state.not_ready import NotReady
from tests.core.sandboxes.test_sandboxes import PodsTestCase


class StatusTests(PodsTestCase):
    """Status, of a node whose engine answers."""

    def setUp(self) -> None:
        super().setUp()
        node = self.node
        self.status = NodeStatus(Config(), node.docker.client, node.engine, node.cache, node.network)

    def conditions(self) -> dict[str, bool]:
        """The conditions by type."""
        return {each.type: each.status for each in self.status.status(verbose=False).status.conditions}

    def test_ready(self) -> None:
        """Both conditions are true."""
        self.assertEqual(self.conditions(), {"RuntimeReady": True, "NetworkReady": True})

    def test_before_the_first_look(self) -> None:
        """Nothing is said of the network before the first look at it, which is what to wait for."""
        self.node.network.undecided = True
        unknown = self.assertRaises(NotReady, self.conditions)
        self.successResultOf(self.node.run(unknown.until()))
        self.assertTrue(self.conditions()["NetworkReady"])

    def test_engine_away(self) -> None:
        """A node without its engine is told so at once."""
        self.node.cache.disconnected("no socket")
        self.assertFalse(self.conditions()["RuntimeReady"])
