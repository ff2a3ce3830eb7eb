"""Filters of lists: ``criwist.translate.filters``."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.translate.filters import container_filter, sandbox_filter


@frozen
class Sandbox:
    """A sandbox with the properties that filters read."""

    id: str = "abcdef"
    ready: bool = True
    labels: Mapping[str, str] = field(factory=lambda: {"app": "web", "tier": ""})


@frozen
class Container:
    """A container with the properties that filters read."""

    id: str = "123456"
    sandbox_id: str = "abcdef"
    state: int = pb.CONTAINER_RUNNING
    labels: Mapping[str, str] = field(factory=lambda: {"app": "web", "tier": ""})


class SandboxFilterTests(SynchronousTestCase):
    """PodSandboxFilter."""

    def test_empty(self) -> None:
        """An empty filter passes everything."""
        self.assertTrue(sandbox_filter(pb.PodSandboxFilter())(Sandbox()))

    def test_id(self) -> None:
        """A filter may have the beginning of an id, and no other part of it."""
        for identifier, passes in (("abcdef", True), ("ab", True), ("bc", False), ("abcdef0", False)):
            self.assertEqual(sandbox_filter(pb.PodSandboxFilter(id=identifier))(Sandbox()), passes, identifier)

    def test_state(self) -> None:
        """A state passes only sandboxes in it; READY, which is 0, is a state like any other."""
        for state in (pb.SANDBOX_READY, pb.SANDBOX_NOTREADY):
            passes = sandbox_filter(pb.PodSandboxFilter(state=pb.PodSandboxStateValue(state=state)))
            for ready in (True, False):
                self.assertEqual(passes(Sandbox(ready=ready)), ready == (state == pb.SANDBOX_READY))

    def test_labels(self) -> None:
        """A sandbox needs all labels of the selector with their values; an empty value is a value."""
        for selector, passes in (
            ({"app": "web"}, True),
            ({"app": "web", "tier": ""}, True),
            ({"app": "db"}, False),
            ({"app": "web", "absent": ""}, False),
        ):
            self.assertEqual(sandbox_filter(pb.PodSandboxFilter(label_selector=selector))(Sandbox()), passes, selector)

    def test_all_parts_count(self) -> None:
        """Parts are joined by "and"."""
        wanted = pb.PodSandboxFilter(id="ab", label_selector={"app": "db"})
        self.assertFalse(sandbox_filter(wanted)(Sandbox()))

    def test_stats(self) -> None:
        """A stats filter, which has no state, works in the same way."""
        self.assertTrue(sandbox_filter(pb.PodSandboxStatsFilter(id="ab"))(Sandbox(ready=False)))
        self.assertFalse(sandbox_filter(pb.PodSandboxStatsFilter(id="b"))(Sandbox()))


class ContainerFilterTests(SynchronousTestCase):
    """ContainerFilter."""

    def test_empty(self) -> None:
        """An empty filter passes everything."""
        self.assertTrue(container_filter(pb.ContainerFilter())(Container()))

    def test_ids(self) -> None:
        """A filter may have the beginning of the container's id and of the sandbox's."""
        self.assertTrue(container_filter(pb.ContainerFilter(id="12", pod_sandbox_id="abc"))(Container()))
        self.assertFalse(container_filter(pb.ContainerFilter(id="12", pod_sandbox_id="b"))(Container()))
        self.assertFalse(container_filter(pb.ContainerFilter(id="2", pod_sandbox_id="abc"))(Container()))

    def test_state(self) -> None:
        """A state passes only containers in it."""
        for wanted in pb.ContainerState.values():
            passes = container_filter(pb.ContainerFilter(state=pb.ContainerStateValue(state=wanted)))  # type: ignore[arg-type]
            for state in pb.ContainerState.values():
                self.assertEqual(passes(Container(state=state)), state == wanted)

    def test_labels(self) -> None:
        """A container needs all labels of the selector with their values."""
        self.assertTrue(container_filter(pb.ContainerFilter(label_selector={"app": "web"}))(Container()))
        self.assertFalse(container_filter(pb.ContainerFilter(label_selector={"app": ""}))(Container()))

    def test_stats(self) -> None:
        """A stats filter, which has no state, works in the same way."""
        wanted = pb.ContainerStatsFilter(pod_sandbox_id="abc", label_selector={"app": "web"})
        self.assertTrue(container_filter(wanted)(Container(state=pb.CONTAINER_EXITED)))
