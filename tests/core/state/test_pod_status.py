"""PodSandboxStatus for a kubelet that follows events."""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.pod_status import pod_status_response
from tests.core.memory_node import NodeTestCase


class PodStatusTests(NodeTestCase):
    """The response to PodSandboxStatus."""

    def test_all_containers(self) -> None:
        """It has the statuses of the pod's own containers, newest first, and the timestamp."""
        sandbox_id = self.run_pod()
        first, second = self.run_container(sandbox_id, "first"), self.run_container(sandbox_id, "second")
        self.run_container(self.run_pod("other"), "third")
        snapshot = self.node.cache.current()
        serialized = pod_status_response(snapshot, snapshot.sandbox(sandbox_id), 7)
        response = pb.PodSandboxStatusResponse.FromString(serialized)
        self.assertEqual((response.status.id, response.timestamp), (sandbox_id, 7))
        self.assertEqual([status.id for status in response.containers_statuses], [second, first])
        self.assertEqual({status.state for status in response.containers_statuses}, {pb.CONTAINER_RUNNING})

    def test_no_container(self) -> None:
        """A pod without containers has no statuses."""
        sandbox_id = self.run_pod()
        snapshot = self.node.cache.current()
        serialized = pod_status_response(snapshot, snapshot.sandbox(sandbox_id), 7)
        self.assertEqual(list(pb.PodSandboxStatusResponse.FromString(serialized).containers_statuses), [])
