"""The user of a container that has ended is kept."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.observed_state import ObservedState, ObservedStateReader
from criwist.interfaces.engine import JSONObject

ALICE = ObservedState(pb.LinuxContainerResources(cpu_shares=2), pb.LinuxContainerUser(uid=1003, gid=100))


class ObservedStateReaderTests(SynchronousTestCase):
    """Containers, and the states that the kernel reports of them."""

    def setUp(self) -> None:
        """Start with one container that runs."""
        self.states: dict[str, ObservedState] = {"a": ALICE}
        self.reader = ObservedStateReader(self.read)

    def read(self, inspected: JSONObject) -> ObservedState:
        """Return the kernel's state of a container."""
        return self.states.get(inspected["Id"], ObservedState())

    def test_the_user_outlives_the_process(self) -> None:
        """An ended container has its user, but not its limits, which are not in force any more."""
        self.assertEqual(self.reader({"Id": "a"}), ALICE)
        self.states.clear()
        self.assertEqual(self.reader({"Id": "a"}), ObservedState(None, ALICE.user))

    def test_a_container_never_seen_running(self) -> None:
        """A container that was never seen running has neither."""
        self.assertEqual(self.reader({"Id": "b"}), ObservedState())

    def test_memory_is_bounded(self) -> None:
        """The users of the last thousands of containers are kept, not of all."""
        self.reader({"Id": "a"})
        for number in range(4096):
            self.states[str(number)] = ALICE
            self.reader({"Id": str(number)})
        self.states.clear()
        self.assertIsNone(self.reader({"Id": "a"}).user)
        self.assertEqual(self.reader({"Id": "4095"}).user, ALICE.user)
