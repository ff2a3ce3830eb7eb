"""Events of sandboxes and containers: their steps, their order and the statuses that they carry."""

from __future__ import annotations

import itertools

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.container_events import container_steps, sandbox_steps
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.state.event_feed import MAX_BACKOFF
from criwist.interfaces.kernel import CgroupWrites
from criwist.names import parse_name
from tests.core.memory_node import NodeTestCase

PAUSE_NAME = "k8s_POD_pod_default_uid-pod_0"
CONTAINER_NAME = "k8s_main_pod_default_uid-pod_0"
CREATED, STARTED = pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT
STOPPED, DELETED = pb.CONTAINER_STOPPED_EVENT, pb.CONTAINER_DELETED_EVENT


def sandbox(*, ready: bool, pid: int = 0) -> SandboxEntry:
    """Return an entry of one sandbox."""
    name = parse_name(PAUSE_NAME)
    assert name is not None
    return SandboxEntry(
        id="s",
        name=name,
        ready=ready,
        running=pid != 0,
        created_at=1,
        labels={},
        pid=pid,
        network_mode="none",
        runtime="runc",
        image="",
        item=b"",
        status=b"",
    )


def container(state: pb.ContainerState, started_at: int = 0) -> ContainerEntry:
    """Return an entry of one container, which was created at time 1."""
    name = parse_name(CONTAINER_NAME)
    assert name is not None
    return ContainerEntry(
        id="c",
        sandbox_id="s",
        name=name,
        state=state,
        running=state == pb.CONTAINER_RUNNING,
        created_at=1,
        labels={},
        pid=0,
        image="",
        image_id="",
        tty=False,
        stdin=False,
        stdin_once=False,
        log_path="",
        engine_log_path="",
        log_driver="",
        image_volumes=frozenset(),
        cgroup_writes=CgroupWrites(),
        item=b"",
        status=pb.ContainerStatus(created_at=1, started_at=started_at).SerializeToString(),
    )


class SandboxStepTests(SynchronousTestCase):
    """The events between two entries of a sandbox."""

    def test_seen_one_by_one(self) -> None:
        """STARTED is when it becomes ready, STOPPED when it is no longer, and its process's end is no event then."""
        absent, fresh, set_up = None, sandbox(ready=False), sandbox(ready=False, pid=5)
        ready, released, ended = sandbox(ready=True, pid=5), sandbox(ready=False, pid=5), sandbox(ready=False)
        life = [absent, fresh, set_up, ready, released, ended, absent]
        steps = [sandbox_steps(*pair) for pair in itertools.pairwise(life)]
        self.assertEqual(steps, [[CREATED], [], [STARTED], [STOPPED], [], [DELETED]])

    def test_missed(self) -> None:
        """Steps that were missed are made up for, in order."""
        self.assertEqual(sandbox_steps(None, sandbox(ready=True, pid=5)), [CREATED, STARTED])
        self.assertEqual(sandbox_steps(sandbox(ready=True, pid=5), None), [STOPPED, DELETED])
        self.assertEqual(sandbox_steps(sandbox(ready=True, pid=5), sandbox(ready=True, pid=6)), [STOPPED, STARTED])

    def test_other_changes(self) -> None:
        """A change of anything else, and a process that is not known for a moment, are no events."""
        ready = sandbox(ready=True, pid=5)
        self.assertEqual(sandbox_steps(ready, evolve(ready, status=b"other")), [])
        self.assertEqual(sandbox_steps(ready, evolve(ready, pid=0)), [])


class ContainerStepTests(SynchronousTestCase):
    """The events between two entries of a container."""

    def test_seen_one_by_one(self) -> None:
        """Each state is one event."""
        states = [
            container(pb.CONTAINER_CREATED),
            container(pb.CONTAINER_RUNNING, 2),
            container(pb.CONTAINER_EXITED, 2),
        ]
        life = [None, *states, None]
        steps = [container_steps(*pair) for pair in itertools.pairwise(life)]
        self.assertEqual(steps, [[CREATED], [STARTED], [STOPPED], [DELETED]])

    def test_missed(self) -> None:
        """Steps that were missed are made up for, in order; a restart is found by the time of the start."""
        running, exited = container(pb.CONTAINER_RUNNING, 2), container(pb.CONTAINER_EXITED, 2)
        self.assertEqual(container_steps(None, running), [CREATED, STARTED])
        self.assertEqual(container_steps(None, exited), [CREATED, STARTED, STOPPED])
        self.assertEqual(container_steps(container(pb.CONTAINER_CREATED), exited), [STARTED, STOPPED])
        self.assertEqual(container_steps(running, None), [STOPPED, DELETED])
        self.assertEqual(container_steps(running, container(pb.CONTAINER_RUNNING, 9)), [STOPPED, STARTED])
        self.assertEqual(container_steps(running, container(pb.CONTAINER_EXITED, 9)), [STOPPED, STARTED, STOPPED])
        self.assertEqual(container_steps(exited, container(pb.CONTAINER_RUNNING, 9)), [STARTED])
        self.assertEqual(container_steps(exited, container(pb.CONTAINER_EXITED, 9)), [STARTED, STOPPED])

    def test_start_that_failed(self) -> None:
        """A container that could not be started is STOPPED only; the engine's time of its start is that of creation."""
        refused = container(pb.CONTAINER_EXITED, 1)
        self.assertEqual(container_steps(container(pb.CONTAINER_CREATED), refused), [STOPPED])
        self.assertEqual(container_steps(None, refused), [CREATED, STOPPED])
        self.assertEqual(container_steps(refused, container(pb.CONTAINER_RUNNING, 4)), [STARTED])

    def test_start_that_is_not_known(self) -> None:
        """A container that the engine lists and cannot inspect has events of its state, and none twice."""
        running, exited = container(pb.CONTAINER_RUNNING, 2), container(pb.CONTAINER_EXITED, 2)
        unknown = container(pb.CONTAINER_UNKNOWN)
        self.assertEqual(container_steps(None, container(pb.CONTAINER_RUNNING)), [CREATED, STARTED])
        self.assertEqual(container_steps(running, container(pb.CONTAINER_RUNNING)), [])
        self.assertEqual(container_steps(container(pb.CONTAINER_RUNNING), running), [])
        self.assertEqual(container_steps(running, unknown), [])
        self.assertEqual(container_steps(unknown, running), [])
        self.assertEqual(container_steps(unknown, exited), [STOPPED])
        self.assertEqual(container_steps(container(pb.CONTAINER_EXITED), exited), [])

    def test_other_changes(self) -> None:
        """A change of anything else is no event."""
        running = container(pb.CONTAINER_RUNNING, 2)
        self.assertEqual(container_steps(running, evolve(running, pid=7)), [])


class EventTests(NodeTestCase):
    """The events of a node."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[pb.ContainerEventResponse] = []
        self.unsubscribe = self.node.core.container_events.subscribe(self.receive)

    def receive(self, event: bytes) -> None:
        self.events.append(pb.ContainerEventResponse.FromString(event))

    def steps(self) -> list[tuple[str, pb.ContainerEventType]]:
        """Return the ids and types of the events until now, and forget them."""
        steps = [(event.container_id, event.container_event_type) for event in self.events]
        self.events.clear()
        return steps

    def test_life(self) -> None:
        """The sandbox's STARTED has the pod's address, a container's events its statuses, and DELETED neither."""
        sandbox_id = self.run_pod()
        [_, started] = self.events
        self.assertEqual(started.pod_sandbox_status.network.ip, "10.1.0.1")
        self.assertEqual(started.pod_sandbox_status.state, pb.SANDBOX_READY)
        self.assertEqual(self.steps(), [(sandbox_id, CREATED), (sandbox_id, STARTED)])
        container_id = self.run_container(sandbox_id)
        self.assertEqual(
            [[status.state for status in event.containers_statuses] for event in self.events],
            [[pb.CONTAINER_CREATED], [pb.CONTAINER_RUNNING]],
        )
        self.assertEqual(self.steps(), [(container_id, CREATED), (container_id, STARTED)])
        self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))
        deleted = self.events[-1]
        self.assertEqual(
            self.steps(),
            [(container_id, STOPPED), (sandbox_id, STOPPED), (container_id, DELETED), (sandbox_id, DELETED)],
        )
        self.assertEqual(deleted.pod_sandbox_status.id, sandbox_id)
        self.assertEqual(deleted.pod_sandbox_status.metadata.uid, "uid-pod")
        self.assertEqual(deleted.pod_sandbox_status.state, pb.SANDBOX_NOTREADY)
        self.assertEqual(deleted.pod_sandbox_status.network.ip, "")

    def test_missed_while_disconnected(self) -> None:
        """What changed while the engine was disconnected becomes events, a pod's sandbox after its containers."""
        sandbox_id = self.run_pod()
        container_id = self.run_container(sandbox_id)
        other = self.run_pod("other")
        self.steps()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.remove(PAUSE_NAME)
        self.node.docker.remove(CONTAINER_NAME)
        self.node.docker.kill("k8s_POD_other_default_uid-other_0")
        self.node.docker.back()
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()
        removals = [(container_id, STOPPED), (container_id, DELETED), (sandbox_id, STOPPED), (sandbox_id, DELETED)]
        self.assertEqual(self.steps(), [(other, STOPPED), *removals])

    def test_reconnection_without_changes(self) -> None:
        """A reconnection alone makes no event."""
        self.run_container(self.run_pod())
        self.steps()
        self.node.docker.away()
        self.node.settle()
        self.node.docker.back()
        self.node.clock.advance(MAX_BACKOFF)
        self.node.settle()
        self.node.cache.current()
        self.assertEqual(self.steps(), [])

    def test_container_without_its_sandbox(self) -> None:
        """The events of a container whose sandbox was removed name the pod, or a kubelet would drop them."""
        sandbox_id = self.run_pod()
        container_id = self.run_container(sandbox_id)
        self.node.docker.remove(PAUSE_NAME)
        self.node.settle()
        self.steps()
        self.node.docker.kill(CONTAINER_NAME)
        self.node.settle()
        [stopped] = self.events
        self.assertEqual(self.steps(), [(container_id, STOPPED)])
        metadata = pb.PodSandboxMetadata(name="pod", namespace="default", uid="uid-pod")
        expected = pb.PodSandboxStatus(id=sandbox_id, metadata=metadata, state=pb.SANDBOX_NOTREADY)
        self.assertEqual(stopped.pod_sandbox_status, expected)
        self.assertEqual([status.id for status in stopped.containers_statuses], [container_id])

    def test_earlier_sandbox(self) -> None:
        """The DELETED event of a pod's earlier sandbox describes the newer one, so that kubelet keeps the pod."""
        earlier = self.run_pod()
        self.successResultOf(self.node.run(self.node.sandboxes.stop(earlier)))
        config = self.node.sandbox_config(attempt=1)
        newer = self.successResultOf(self.node.run(self.node.sandboxes.run(config, "")))
        container_id = self.run_container(newer)
        self.successResultOf(self.node.run(self.node.sandboxes.remove(earlier)))
        deleted = self.events[-1]
        self.assertEqual((deleted.container_id, deleted.container_event_type), (earlier, DELETED))
        self.assertEqual(deleted.pod_sandbox_status.id, newer)
        self.assertEqual([status.id for status in deleted.containers_statuses], [container_id])

    def test_times(self) -> None:
        """created_at never falls."""
        self.run_container(self.run_pod())
        times = [event.created_at for event in self.events]
        self.assertEqual(times, sorted(times))

    def test_subscribers(self) -> None:
        """All subscribers get the same bytes, and none after the end of its subscription."""
        received: list[bytes] = []
        others: list[bytes] = []
        self.node.core.container_events.subscribe(received.append)
        self.node.core.container_events.subscribe(others.append)
        self.unsubscribe()
        self.unsubscribe()
        self.run_pod()
        self.assertEqual(self.events, [])
        self.assertEqual(len(received), 2)
        self.assertIs(received[0], others[0])
