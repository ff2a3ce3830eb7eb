"""RunPodSandbox, StopPodSandbox, RemovePodSandbox."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.not_ready import NotReady
from tests.core.memory_node import NodeTestCase


class SandboxTestCase(NodeTestCase):
    """Sandboxes on a node in memory."""

    def assert_nothing_left(self) -> None:
        """No container, no network, no record, no file."""
        self.assertEqual(self.node.docker.containers.listed({}), [])
        self.assertEqual(self.node.network.assigned, {})
        self.assertEqual(list(self.node.records.identifiers()), [])
        self.assertEqual(self.node.cache.snapshot.sandboxes, {})
        self.assertEqual(len(self.node.core.locks), 0)


class RunTests(SandboxTestCase):
    """A sandbox is all there or not at all."""

    def test_ready_with_its_address(self) -> None:
        """A pod that was run is ready, has its network's address, and is in the snapshot before the answer."""
        sandbox_id = self.run_pod()
        entry = self.node.cache.current().sandbox(sandbox_id)
        status = pb.PodSandboxStatus.FromString(entry.status)
        self.assertEqual((entry.ready, status.network.ip), (True, "10.1.0.1"))

    def test_failed_network_leaves_nothing(self) -> None:
        """When the network fails, its error is told and nothing is left."""
        self.node.network.failing = True
        failed = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        self.failureResultOf(failed, errors.PluginFailure)
        self.assert_nothing_left()

    def test_failed_start_leaves_nothing(self) -> None:
        """When the pause cannot be started, nothing is left."""
        self.node.docker.fail("POST /containers/.*/start", 500, "no such runtime")
        failed = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        self.failureResultOf(failed, errors.EngineFailure)
        self.assert_nothing_left()

    def test_pause_that_cannot_be_removed(self) -> None:
        """A pause that the engine does not remove, of a set-up that failed, is never taken for a pod that is ready."""
        self.node.network.failing = True
        self.node.docker.fail("DELETE /containers/.*", 500, "device is busy")
        failed = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        self.failureResultOf(failed, errors.PluginFailure)
        (left,) = self.node.docker.containers.listed({})
        self.node.restart()
        self.assertFalse(self.node.cache.current().sandbox(left.id).ready)
        self.successResultOf(self.node.run(self.node.sandboxes.remove(left.id)))
        self.assert_nothing_left()

    def test_cancellation_leaves_nothing(self) -> None:
        """A caller that goes away in the middle leaves nothing."""
        held = self.node.docker.hold("POST /containers/.*/start")
        under_way = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        under_way.cancel()
        held.release()
        self.node.settle()
        self.failureResultOf(under_way)
        self.assert_nothing_left()

    def test_oom_score_is_learned(self) -> None:
        """An engine that may not lower oom scores refuses once; the pod runs all the same, and later ones at once."""
        self.node.docker.fail("POST /containers/.*/start", 500, "can't get final child's PID from pipe: EOF")
        sandbox_id = self.run_pod()
        self.assertTrue(self.node.cache.current().sandbox(sandbox_id).ready)
        self.assertEqual(self.node.engine.oom_score_floor, 0)
        self.assertEqual(len(self.node.docker.containers.listed({})), 1)

    def test_same_name_twice_is_refused(self) -> None:
        """A second sandbox of the same name and attempt as a ready one is refused and harms nothing."""
        sandbox_id = self.run_pod()
        again = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        self.failureResultOf(again, errors.AlreadyExists)
        self.assertTrue(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_leftover_of_a_crash_is_replaced(self) -> None:
        """A sandbox that was left half-made under the wanted name is released and replaced."""
        sandbox_id = self.run_pod()
        self.node.docker.kill("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        fresh = self.run_pod()
        self.assertNotEqual(fresh, sandbox_id)
        self.assertEqual(list(self.node.network.assigned), [fresh])
        self.assertEqual(list(self.node.records.identifiers()), [fresh])

    def test_unknown_runtime_handler(self) -> None:
        """A runtime handler that the engine does not have is the request's fault."""
        failed = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), "kata"))
        self.failureResultOf(failed, errors.InvalidArgument)
        self.assert_nothing_left()

    def test_log_directory_is_made(self) -> None:
        """The pod's log directory exists when the pod does."""
        self.run_pod()
        self.assertTrue(os.path.isdir(self.node.sandbox_config().log_directory))


class StopTests(SandboxTestCase):
    """What is stopped stays stopped, and may be stopped again."""

    def test_stop(self) -> None:
        """All containers end, the network is released, the sandbox is not ready."""
        sandbox_id = self.run_pod()
        container_id = self.run_container(sandbox_id)
        self.successResultOf(self.node.run(self.node.sandboxes.stop(sandbox_id)))
        snapshot = self.node.cache.current()
        self.assertEqual(self.node.network.assigned, {})
        self.assertFalse(snapshot.sandbox(sandbox_id).ready)
        self.assertEqual(snapshot.container(container_id).state, pb.CONTAINER_EXITED)

    def test_stop_is_repeatable(self) -> None:
        """Stopping again, or what is unknown, is success."""
        sandbox_id = self.run_pod()
        for identifier in (sandbox_id, sandbox_id, "unknown"):
            self.successResultOf(self.node.run(self.node.sandboxes.stop(identifier)))

    def test_restarted_pause_stays_not_ready(self) -> None:
        """A sandbox that was stopped is not ready again though somebody starts its pause."""
        sandbox_id = self.run_pod()
        self.successResultOf(self.node.run(self.node.sandboxes.stop(sandbox_id)))
        self.successResultOf(self.node.run(self.node.docker.client.start_container(sandbox_id)))
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_vanished_pause(self) -> None:
        """The network is released from the record though the pause has been removed behind our back."""
        sandbox_id = self.run_pod()
        self.node.docker.remove("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        self.successResultOf(self.node.run(self.node.sandboxes.stop(sandbox_id)))
        self.assertEqual(self.node.network.assigned, {})
        self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))
        self.assert_nothing_left()


class RemoveTests(SandboxTestCase):
    """Nothing is left of a removed pod."""

    def test_remove_running(self) -> None:
        """A pod that runs is stopped first; containers, sandbox and record go."""
        sandbox_id = self.run_pod()
        self.run_container(sandbox_id)
        self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))
        self.assert_nothing_left()

    def test_remove_is_repeatable(self) -> None:
        """Removing again is success."""
        sandbox_id = self.run_pod()
        for _ in range(2):
            self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))


class RecoveryTests(SandboxTestCase):
    """criwist is killed and started again."""

    def test_pods_are_found_again(self) -> None:
        """A restart changes nothing that is seen of a pod."""
        sandbox_id = self.run_pod()
        before = self.node.cache.current().sandbox(sandbox_id)
        self.node.restart()
        self.assertEqual(self.node.cache.current().sandbox(sandbox_id), before)

    def test_vanished_sandbox_is_released(self) -> None:
        """The network and the record of a pod that vanished while we were away are released at the start."""
        self.run_pod()
        self.node.feed.stop()
        self.node.docker.remove("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        self.node.build()
        self.node.start()
        self.assert_nothing_left()

    def test_logs_are_followed_again(self) -> None:
        """Every container with a log is followed after a restart."""
        self.run_container(self.run_pod())
        self.node.restart()
        self.assertEqual(self.node.logs.calls, [("follow", f"{self.node.root}/logs/pod/main.log")])

    def test_end_while_we_were_away_waits_for_the_log(self) -> None:
        """A container that ended while we were down is shown when its log is complete, not before."""
        container_id = self.run_container(self.run_pod())
        self.node.feed.stop()
        self.node.docker.end("k8s_main_pod_default_uid-pod_0")
        self.node.settle()
        self.node.build()
        self.node.logs.settling = Deferred()
        self.node.start()
        self.assertRaises(NotReady, self.node.cache.current)
        self.node.logs.settling.callback(None)
        self.node.settle()
        self.assertEqual(self.node.cache.current().container(container_id).state, pb.CONTAINER_EXITED)
