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
        """Assert that there is no container, no network, no record, no entry and no lock."""
        self.assertEqual(self.node.docker.containers.listed({}), [])
        self.assertEqual(self.node.network.assigned, {})
        self.assertEqual(list(self.node.records.identifiers()), [])
        self.assertEqual(self.node.cache.snapshot.sandboxes, {})
        self.assertEqual(len(self.node.core.locks), 0)
        self.assertEqual(self.resolv_confs(), [])

    def run_pod_with_dns(self) -> str:
        """Run a pod with a DNS configuration of its own; return its id."""
        config = self.node.sandbox_config()
        config.dns_config.servers.append("192.0.2.53")
        return self.successResultOf(self.node.run(self.node.sandboxes.run(config, "")))

    def resolv_confs(self) -> list[str]:
        """Return the ids of the sandboxes that have a resolv.conf."""
        directory = f"{self.node.root}/resolv-confs"
        return os.listdir(directory) if os.path.isdir(directory) else []


class RunTests(SandboxTestCase):
    """RunPodSandbox makes a whole sandbox or nothing."""

    def test_ready_with_its_address(self) -> None:
        """A new sandbox is ready, has its network's address, and is in the snapshot when the call returns."""
        sandbox_id = self.run_pod()
        entry = self.node.cache.current().sandbox(sandbox_id)
        status = pb.PodSandboxStatus.FromString(entry.status)
        self.assertEqual((entry.ready, status.network.ip), (True, "10.1.0.1"))

    def test_failed_network_leaves_nothing(self) -> None:
        """When the network fails, the caller gets its error and nothing is left."""
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
        """After a failed set-up, a pause that the engine cannot remove is never a ready sandbox."""
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
        """A call that is cancelled in the middle leaves nothing."""
        held = self.node.docker.hold("POST /containers/.*/start")
        under_way = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        under_way.cancel()
        held.release()
        self.node.settle()
        self.failureResultOf(under_way)
        self.assert_nothing_left()

    def test_oom_score_is_learned(self) -> None:
        """An engine that may not lower oom scores fails once; criwist tries again with a floor of 0 and keeps it."""
        self.node.docker.fail("POST /containers/.*/start", 500, "can't get final child's PID from pipe: EOF")
        sandbox_id = self.run_pod()
        self.assertTrue(self.node.cache.current().sandbox(sandbox_id).ready)
        self.assertEqual(self.node.engine.oom_score_floor, 0)
        self.assertEqual(len(self.node.docker.containers.listed({})), 1)

    def test_same_name_twice_is_refused(self) -> None:
        """A second sandbox of the same name and attempt as a ready one is rejected; the first stays ready."""
        sandbox_id = self.run_pod()
        again = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        self.failureResultOf(again, errors.AlreadyExists)
        self.assertTrue(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_leftover_of_a_crash_is_replaced(self) -> None:
        """A sandbox that a crash left under the requested name is released and replaced."""
        sandbox_id = self.run_pod_with_dns()
        self.node.docker.kill("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        fresh = self.run_pod_with_dns()
        self.assertNotEqual(fresh, sandbox_id)
        self.assertEqual(list(self.node.network.assigned), [fresh])
        self.assertEqual(list(self.node.records.identifiers()), [fresh])
        self.assertEqual(self.resolv_confs(), [fresh])

    def test_unknown_runtime_handler(self) -> None:
        """A runtime handler that the engine does not have is an InvalidArgument."""
        failed = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), "kata"))
        self.failureResultOf(failed, errors.InvalidArgument)
        self.assert_nothing_left()

    def test_log_directory_is_made(self) -> None:
        """The pod's log directory exists when the call returns."""
        self.run_pod()
        self.assertTrue(os.path.isdir(self.node.sandbox_config().log_directory))


class StopTests(SandboxTestCase):
    """StopPodSandbox is final and idempotent."""

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
        """Stopping a stopped or an unknown sandbox succeeds."""
        sandbox_id = self.run_pod()
        for identifier in (sandbox_id, sandbox_id, "unknown"):
            self.successResultOf(self.node.run(self.node.sandboxes.stop(identifier)))

    def test_restarted_pause_stays_not_ready(self) -> None:
        """A stopped sandbox is not ready, even if its pause is started again."""
        sandbox_id = self.run_pod()
        self.successResultOf(self.node.run(self.node.sandboxes.stop(sandbox_id)))
        self.successResultOf(self.node.run(self.node.docker.client.start_container(sandbox_id)))
        self.assertFalse(self.node.cache.current().sandbox(sandbox_id).ready)

    def test_removed_pause(self) -> None:
        """The record releases the network of a sandbox whose pause was removed without criwist."""
        sandbox_id = self.run_pod()
        self.node.docker.remove("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        self.successResultOf(self.node.run(self.node.sandboxes.stop(sandbox_id)))
        self.assertEqual(self.node.network.assigned, {})
        self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))
        self.assert_nothing_left()


class RemoveTests(SandboxTestCase):
    """RemovePodSandbox leaves nothing."""

    def test_remove_running(self) -> None:
        """A running pod is stopped first; its containers, its pause and its record are removed."""
        sandbox_id = self.run_pod()
        self.run_container(sandbox_id)
        self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))
        self.assert_nothing_left()

    def test_remove_is_repeatable(self) -> None:
        """Removing a removed sandbox succeeds."""
        sandbox_id = self.run_pod()
        for _ in range(2):
            self.successResultOf(self.node.run(self.node.sandboxes.remove(sandbox_id)))


class RecoveryTests(SandboxTestCase):
    """criwist is killed and started again."""

    def test_pods_are_found_again(self) -> None:
        """After a restart the entry of a pod is the same."""
        sandbox_id = self.run_pod()
        before = self.node.cache.current().sandbox(sandbox_id)
        self.node.restart()
        self.assertEqual(self.node.cache.current().sandbox(sandbox_id), before)

    def test_removed_sandbox_is_released(self) -> None:
        """At the start, network, record and resolv.conf of a pod that was removed meanwhile are released."""
        self.run_pod_with_dns()
        self.node.feed.stop()
        self.node.docker.remove("k8s_POD_pod_default_uid-pod_0")
        self.node.settle()
        self.node.build()
        self.node.start()
        self.assert_nothing_left()

    def test_logs_are_followed_again(self) -> None:
        """After a restart every container with a log is followed."""
        self.run_container(self.run_pod())
        self.node.restart()
        self.assertEqual(self.node.logs.calls, [("follow", f"{self.node.root}/logs/pod/main.log")])

    def test_exit_while_criwist_was_down_waits_for_the_log(self) -> None:
        """A container that ended while criwist was down is reported when its log is complete, not before."""
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
