"""The state of the node."""

from __future__ import annotations

from criwist.core.state.not_ready import NotReady
from tests.core.memory_node import NodeTestCase


class StatusTests(NodeTestCase):
    """Status of a node in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.status = self.node.core.node_status

    def conditions(self) -> dict[str, bool]:
        """Return the conditions by type."""
        return {each.type: each.status for each in self.status.status().status.conditions}

    def test_ready(self) -> None:
        """With the engine connected and the network ready, both conditions are true."""
        self.assertEqual(self.conditions(), {"RuntimeReady": True, "NetworkReady": True})

    def test_before_the_first_check_of_the_network(self) -> None:
        """Before the first check of the network Status is NotReady, whose ``until`` waits for the check."""
        self.node.network.condition_pending = True
        error = self.assertRaises(NotReady, self.conditions)
        self.successResultOf(self.node.run(error.until()))
        self.assertTrue(self.conditions()["NetworkReady"])

    def test_engine_disconnected(self) -> None:
        """RuntimeReady is false as soon as the engine is disconnected."""
        self.node.cache.disconnected("no socket")
        self.assertFalse(self.conditions()["RuntimeReady"])
