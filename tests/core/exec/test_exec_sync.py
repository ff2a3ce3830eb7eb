"""ExecSync."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from criwist import errors
from criwist.core.exec.exec_sync import LAST_WORDS, OUTPUT_LIMIT, ExecResult
from tests.core.sandboxes.test_sandboxes import PodsTestCase
from tests.doubles.memory_processes import Program


class ExecsTests(PodsTestCase):
    """A command is run to its end, or killed with all it started."""

    def setUp(self) -> None:
        super().setUp()
        self.container_id = self.run_container(self.run_pod())

    def result(self, command: str, program: Program, timeout: float = 0) -> Deferred[ExecResult]:
        """Run *command*, which does what *program* says."""
        self.node.docker.programs[(command,)] = program
        return self.node.run(self.node.execs.run(self.container_id, [command], timeout))

    def test_output_and_exit_code(self) -> None:
        """Both outputs come apart, with the exit code."""
        done = self.result("say", Program(stdout=b"out", stderr=b"err", exit_code=3))
        self.node.clock.advance(LAST_WORDS)
        self.node.settle()
        self.assertEqual(self.successResultOf(done), ExecResult(3, b"out", b"err"))

    def test_flood_leaves_room(self) -> None:
        """Output beyond the limit is cut off where most was said; both together fit a message."""
        done = self.result("flood", Program(stdout=b"x" * (OUTPUT_LIMIT + 5), stderr=b"why", exit_code=0))
        self.node.clock.advance(LAST_WORDS)
        self.node.settle()
        result = self.successResultOf(done)
        self.assertEqual((len(result.stdout), result.stderr), (OUTPUT_LIMIT - 3, b"why"))

    def test_two_floods(self) -> None:
        """Two floods share the limit."""
        flood = b"x" * OUTPUT_LIMIT
        done = self.result("flood", Program(stdout=flood, stderr=flood, exit_code=0))
        self.node.clock.advance(LAST_WORDS)
        self.node.settle()
        result = self.successResultOf(done)
        self.assertEqual(len(result.stdout) + len(result.stderr), OUTPUT_LIMIT)
        self.assertLessEqual(abs(len(result.stdout) - len(result.stderr)), 1)

    def test_timeout_kills(self) -> None:
        """When its time is up the process is killed on the host, and the deadline is told."""
        self.node.docker.programs[("hang",)] = Program(exit_code=None)
        hanging = self.node.run(self.node.execs.run(self.container_id, ["hang"], 5))
        self.assertNoResult(hanging)
        self.node.clock.advance(5)
        self.node.settle()
        self.failureResultOf(hanging, errors.DeadlineExceeded)
        self.assertEqual([container for _, container in self.node.processes.killed], [self.container_id])

    def test_caller_goes_away(self) -> None:
        """A probe that nobody waits for any more is killed too."""
        self.node.docker.programs[("hang",)] = Program(exit_code=None)
        hanging = self.node.run(self.node.execs.run(self.container_id, ["hang"], 0))
        hanging.cancel()
        self.node.settle()
        self.failureResultOf(hanging)
        self.assertEqual(len(self.node.processes.killed), 1)

    def test_stopped_container(self) -> None:
        """A command needs a container that runs."""
        self.successResultOf(self.node.run(self.node.containers.stop(self.container_id, 0)))
        self.failureResultOf(
            self.node.run(self.node.execs.run(self.container_id, ["true"], 0)), errors.FailedPrecondition
        )

    def test_unknown_container(self) -> None:
        """A command needs a container."""
        self.failureResultOf(self.node.run(self.node.execs.run("nope", ["true"], 0)), errors.NotFound)
