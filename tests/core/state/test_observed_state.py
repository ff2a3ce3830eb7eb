"""What is remembered of containers that have ended."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.observed_state import ObservedState, ObservedStateReader
from criwist.interfaces.engine import JSONObject

ALICE = ObservedState(pb.LinuxContainerResources(cpu_shares=2), pb.LinuxContainerUser(uid=1003, gid=100))


class ObserverTests(SynchronousTestCase):
    """Containers, and what the kernel says of them."""

    def setUp(self) -> None:
        """A container that runs."""
        self.said: dict[str, ObservedState] = {"a": ALICE}
        self.observer = ObservedStateReader(self.look)

    def look(self, inspected: JSONObject) -> ObservedState:
        """What the kernel says."""
        return self.said.get(inspected["Id"], ObservedState())

    def test_the_user_outlives_the_process(self) -> None:
        """As whom a container ran is told when it has ended; what it was limited to is not in force any more."""
        self.assertEqual(self.observer({"Id": "a"}), ALICE)
        self.said.clear()
        self.assertEqual(self.observer({"Id": "a"}), ObservedState(None, ALICE.user))

    def test_nobody_was_seen(self) -> None:
        """Of a container that was never seen running nothing is said."""
        self.assertEqual(self.observer({"Id": "b"}), ObservedState())

    def test_memory_is_bounded(self) -> None:
        """A node that makes containers for years remembers the last thousands."""
        self.observer({"Id": "a"})
        for number in range(4096):
            self.said[str(number)] = ALICE
            self.observer({"Id": str(number)})
        self.said.clear()
        self.assertIsNone(self.observer({"Id": "a"}).user)
        self.assertEqual(self.observer({"Id": "4095"}).user, ALICE.user)
