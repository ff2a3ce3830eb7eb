"""ExecSync runs a command to its end, or kills it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from criwist import errors
from criwist.core.exec.exec_sync import OUTPUT_GRACE, OUTPUT_LIMIT, ExecResult
from tests.core.memory_node import NodeTestCase
from tests.doubles.memory_processes import Program


class ExecSyncTests(NodeTestCase):
    """Commands in a container of a node in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.container_id = self.run_container(self.run_pod())

    def result(self, command: str, program: Program, timeout: float = 0) -> Deferred[ExecResult]:
        """Run *command*, whose behaviour is *program*."""
        self.node.docker.programs[(command,)] = program
        return self.node.run(self.node.exec_sync.run(self.container_id, [command], timeout))

    def test_output_and_exit_code(self) -> None:
        """The result has stdout, stderr and the exit code."""
        done = self.result("say", Program(stdout=b"out", stderr=b"err", exit_code=3))
        self.node.clock.advance(OUTPUT_GRACE)
        self.node.settle()
        self.assertEqual(self.successResultOf(done), ExecResult(3, b"out", b"err"))

    def test_flood_leaves_room(self) -> None:
        """Output beyond the limit is cut from the longer stream; both together fit a message."""
        done = self.result("flood", Program(stdout=b"x" * (OUTPUT_LIMIT + 5), stderr=b"why", exit_code=0))
        self.node.clock.advance(OUTPUT_GRACE)
        self.node.settle()
        result = self.successResultOf(done)
        self.assertEqual((len(result.stdout), result.stderr), (OUTPUT_LIMIT - 3, b"why"))

    def test_two_floods(self) -> None:
        """Two floods share the limit."""
        flood = b"x" * OUTPUT_LIMIT
        done = self.result("flood", Program(stdout=flood, stderr=flood, exit_code=0))
        self.node.clock.advance(OUTPUT_GRACE)
        self.node.settle()
        result = self.successResultOf(done)
        self.assertEqual(len(result.stdout) + len(result.stderr), OUTPUT_LIMIT)
        self.assertLessEqual(abs(len(result.stdout) - len(result.stderr)), 1)

    def test_timeout_kills(self) -> None:
        """At the timeout the process is killed on the host, and the caller gets DeadlineExceeded."""
        self.node.docker.programs[("hang",)] = Program(exit_code=None)
        hanging = self.node.run(self.node.exec_sync.run(self.container_id, ["hang"], 5))
        self.assertNoResult(hanging)
        self.node.clock.advance(5)
        self.node.settle()
        self.failureResultOf(hanging, errors.DeadlineExceeded)
        self.assertEqual([container for _, container in self.node.processes.killed], [self.container_id])

    def test_caller_goes_away(self) -> None:
        """The command of a caller that cancels is killed too."""
        self.node.docker.programs[("hang",)] = Program(exit_code=None)
        hanging = self.node.run(self.node.exec_sync.run(self.container_id, ["hang"], 0))
        hanging.cancel()
        self.node.settle()
        self.failureResultOf(hanging)
        self.assertEqual(len(self.node.processes.killed), 1)

    def test_stopped_container(self) -> None:
        """A container that does not run is FailedPrecondition."""
        self.successResultOf(self.node.run(self.node.containers.stop(self.container_id, 0)))
        self.failureResultOf(
            self.node.run(self.node.exec_sync.run(self.container_id, ["true"], 0)), errors.FailedPrecondition
        )

    def test_unknown_container(self) -> None:
        """An unknown container is NotFound."""
        self.failureResultOf(self.node.run(self.node.exec_sync.run("nope", ["true"], 0)), errors.NotFound)
