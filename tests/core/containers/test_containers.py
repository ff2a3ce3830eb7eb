"""Containers: create, start, stop, remove, update; and their entries in the cache."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from criwist import errors
from criwist.api.runtime.v1 import api_pb2 as pb
from tests.core.memory_node import NodeTestCase
from tests.doubles.memory_processes import Program


class ContainersTests(NodeTestCase):
    """Containers of one sandbox on a node in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox_id = self.run_pod()

    def create(self, name: str = "main") -> str:
        """Create a container; return its id."""
        config = self.node.container_config(name)
        created = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        container_id: str = self.successResultOf(created)
        return container_id

    def state(self, container_id: str) -> int:
        """Return the container's state in the cache."""
        return self.node.cache.current().container(container_id).state

    def test_states(self) -> None:
        """When an RPC returns, the cache has the state that it has led to."""
        container_id = self.create()
        self.assertEqual(self.state(container_id), pb.CONTAINER_CREATED)
        self.successResultOf(self.node.run(self.node.containers.start(container_id)))
        self.assertEqual(self.state(container_id), pb.CONTAINER_RUNNING)
        self.successResultOf(self.node.run(self.node.containers.stop(container_id, 0)))
        self.assertEqual(self.state(container_id), pb.CONTAINER_EXITED)
        self.successResultOf(self.node.run(self.node.containers.remove(container_id)))
        self.assertEqual(self.node.cache.current().containers, {})

    def test_log_is_followed_before_the_start(self) -> None:
        """The log is followed before the engine starts the container, and forgotten after the removal."""
        held = self.node.docker.hold("POST /containers/.*/start")
        container_id = self.create()
        starting = self.node.run(self.node.containers.start(container_id))
        self.assertEqual([what for what, _ in self.node.logs.calls], ["follow"])
        held.release()
        self.node.settle()
        self.successResultOf(starting)
        self.successResultOf(self.node.run(self.node.containers.remove(container_id)))
        self.assertEqual(self.node.logs.calls[-1], ("forget", container_id))

    def test_exit_waits_for_the_log(self) -> None:
        """A container is EXITED when its log is complete, not before."""
        container_id = self.run_container(self.sandbox_id)
        self.node.logs.settling = Deferred()
        self.node.docker.end("k8s_main_pod_default_uid-pod_0")
        self.node.settle()
        self.assertEqual(self.state(container_id), pb.CONTAINER_RUNNING)
        self.node.logs.settling.callback(None)
        self.node.settle()
        self.assertEqual(self.state(container_id), pb.CONTAINER_EXITED)

    def test_short_container_waits_for_the_log_too(self) -> None:
        """A container that ends while StartContainer is running is EXITED when its log is complete, not before."""
        container_id = self.create()
        self.node.docker.programs[()] = Program(exit_code=0)
        self.node.logs.settling = Deferred()
        starting = self.node.run(self.node.containers.start(container_id))
        self.assertNotEqual(self.state(container_id), pb.CONTAINER_EXITED)
        self.node.logs.settling.callback(None)
        self.node.settle()
        self.successResultOf(starting)
        self.assertEqual(self.state(container_id), pb.CONTAINER_EXITED)

    def test_unknown_sandbox(self) -> None:
        """Creating a container in an unknown sandbox is NotFound."""
        self.sandbox_id = "0" * 64
        config = self.node.container_config()
        failed = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        self.failureResultOf(failed, errors.NotFound)

    def test_stopped_sandbox(self) -> None:
        """Creating a container in a stopped sandbox is a FailedPrecondition."""
        self.successResultOf(self.node.run(self.node.sandboxes.stop(self.sandbox_id)))
        config = self.node.container_config()
        failed = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        self.failureResultOf(failed, errors.FailedPrecondition)

    def test_leftover_name(self) -> None:
        """A container that is not running is replaced by the next one of the same name."""
        first = self.create()
        second = self.create()
        self.assertNotEqual(first, second)
        self.assertEqual(list(self.node.cache.current().containers), [second])

    def test_running_holder_keeps_its_name(self) -> None:
        """A running container keeps its name: creating another one is AlreadyExists."""
        container_id = self.run_container(self.sandbox_id)
        config = self.node.container_config()
        failed = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        self.failureResultOf(failed, errors.AlreadyExists)
        self.assertEqual(self.state(container_id), pb.CONTAINER_RUNNING)

    def test_drop_of_an_unavailable_capability(self) -> None:
        """A capability that the engine does not have need not be dropped: the container is created without it."""
        config = self.node.container_config()
        config.linux.security_context.capabilities.drop_capabilities.extend(["BPF", "KILL"])
        self.node.docker.fail("POST /containers/create", 400, 'invalid CapDrop: unknown capability: "CAP_BPF"')
        created = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        container = self.node.docker.containers.find(self.successResultOf(created))
        self.assertEqual(container.host_config["CapDrop"], ["CAP_KILL"])

    def test_other_bad_parameters(self) -> None:
        """A rejection that names a capability which was not requested is passed on."""
        config = self.node.container_config()
        self.node.docker.fail("POST /containers/create", 400, 'invalid CapDrop: unknown capability: "CAP_BPF"')
        created = self.node.run(self.node.containers.create(self.sandbox_id, config, self.node.sandbox_config()))
        self.failureResultOf(created, errors.InvalidArgument)

    def test_update_before_the_start(self) -> None:
        """Before the start, changes that only a running container takes are rejected; the engine's are made."""
        container_id = self.create()
        for field, fields in (
            ("linux.hugepage_limits[2MB]", {"hugepage_limits": [pb.HugepageLimit(page_size="2MB", limit=1 << 21)]}),
            ("linux.oom_score_adj", {"oom_score_adj": 500}),
        ):
            updating = self.update(container_id, cpu_shares=100, **fields)
            self.assertIn(field, str(self.failureResultOf(updating, errors.FailedPrecondition).value))
        none = pb.HugepageLimit(page_size="2MB", limit=0)
        self.successResultOf(self.update(container_id, cpu_shares=512, hugepage_limits=[none]))
        shares = self.node.docker.containers.find(container_id).host_config["CpuShares"]
        self.assertEqual(shares, 512)

    def update(self, container_id: str, **resources: Any) -> Deferred[Any]:
        """Call UpdateContainerResources."""
        linux = pb.LinuxContainerResources(**resources)
        updating: Deferred[Any] = self.node.run(self.node.containers.update(container_id, linux, {}))
        return updating

    def test_failed_start(self) -> None:
        """The error of a failed start has the engine's text."""
        container_id = self.create()
        self.node.docker.fail("POST /containers/.*/start", 400, 'exec: "nope": executable file not found in $PATH')
        failed = self.node.run(self.node.containers.start(container_id))
        self.assertIn("nope", str(self.failureResultOf(failed).value))

    def test_idempotent_ends(self) -> None:
        """Stopping and removing a stopped, a removed or an unknown container succeeds."""
        container_id = self.run_container(self.sandbox_id)
        for identifier in (container_id, container_id, "unknown"):
            self.successResultOf(self.node.run(self.node.containers.stop(identifier, 0)))
        for identifier in (container_id, container_id, "unknown"):
            self.successResultOf(self.node.run(self.node.containers.remove(identifier)))

    def test_long_stop_does_not_block_removal(self) -> None:
        """A container in a long grace can be removed; the pending stop then succeeds."""
        self.node.docker.programs[()] = Program(ignores=frozenset({"TERM"}))
        container_id = self.run_container(self.sandbox_id)
        stopping = self.node.run(self.node.containers.stop(container_id, 600))
        self.assertNoResult(stopping)
        removing = self.node.run(self.node.containers.remove(container_id))
        self.node.clock.advance(0)
        self.node.settle()
        self.successResultOf(removing)
        self.successResultOf(stopping)
