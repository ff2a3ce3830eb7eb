"""Which worker runs which test: ``tests.harness.scheduler``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.scheduler import Plan, Scheduler

TESTS = ["a.py::1", "a.py::2", "b.py::1", "b.py::2", "c.py::1", "c.py::2"]


class FakeWorker:
    """A worker that runs a test only when it has another one, or has been told to end, as xdist's workers do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shutting_down = False
        self.queue: list[int] = []
        self.ran: list[str] = []

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class SchedulerTests(SynchronousTestCase):
    """A scheduler and workers that run what they are sent."""

    def scheduler(
        self,
        workers: int,
        tests: Sequence[str] = TESTS,
        plan: Plan | None = None,
        durations: Mapping[str, float] | None = None,
    ) -> Scheduler:
        """Start workers that have collected *tests*."""
        self.workers = [FakeWorker(str(number)) for number in range(workers)]
        scheduler = Scheduler(workers, lambda: plan or Plan(), durations or {})
        for worker in self.workers:
            self.assertFalse(scheduler.collection_is_completed)
            scheduler.add_node(worker)
            scheduler.add_node_collection(worker, tests)
        self.assertTrue(scheduler.collection_is_completed)
        scheduler.schedule()
        return scheduler

    def step(self, scheduler: Scheduler) -> bool:
        """Let each worker run one test if it can; return whether any did, or ended."""
        moved = False
        for worker in [each for each in self.workers if each in scheduler.nodes]:
            if len(worker.queue) > 1 or (worker.queue and worker.shutting_down):
                index = worker.queue.pop(0)
                assert scheduler.collection is not None
                worker.ran.append(scheduler.collection[index])
                scheduler.mark_test_complete(worker, index)
                moved = True
            elif worker.shutting_down:
                self.assertIsNone(scheduler.remove_node(worker))
                moved = True
        return moved

    def run_all(self, scheduler: Scheduler) -> None:
        """Run until nothing moves; then everything has been run."""
        while self.step(scheduler):
            pass
        self.assertEqual(scheduler.nodes, [])
        self.assertFalse(scheduler.has_pending)
        self.assertTrue(scheduler.tests_finished)

    def test_every_test_runs_once(self) -> None:
        """Every test runs exactly once, with any number of workers."""
        for count in (1, 2, 3, 4, 8):
            self.run_all(self.scheduler(count))
            self.assertEqual(sorted(test for worker in self.workers for test in worker.ran), TESTS)

    def test_module_stays_together(self) -> None:
        """The tests of a module run on one worker, in their order."""
        self.run_all(self.scheduler(3))
        self.assertEqual(sorted(worker.ran for worker in self.workers), [TESTS[0:2], TESTS[2:4], TESTS[4:6]])

    def test_longest_first(self) -> None:
        """The longest group runs first, by the durations of an earlier run."""
        self.run_all(self.scheduler(1, durations={"b.py": 5.0, "c.py": 9.0, "a.py": 1.0}))
        self.assertEqual(self.workers[0].ran, TESTS[4:6] + TESTS[2:4] + TESTS[0:2])

    def test_engine_is_started_once(self) -> None:
        """The groups of an engine run on the worker that has started it."""
        plan = Plan(engines={"a.py::1": "new", "b.py::1": "new", "c.py::1": "new"})
        self.run_all(self.scheduler(3, plan=plan))
        with_engine = [worker for worker in self.workers if set(worker.ran) & set(plan.engines)]
        self.assertEqual(len(with_engine), 1)

    def test_long_groups_of_an_engine_are_shared(self) -> None:
        """A worker without work takes a group of another worker's engine that lasts longer than its start."""
        plan = Plan(engines=dict.fromkeys(TESTS, "new"))
        durations = {"a.py@new": 100.0, "b.py@new": 90.0, "c.py@new": 1.0}
        self.run_all(self.scheduler(2, plan=plan, durations=durations))
        self.assertEqual({tuple(worker.ran) for worker in self.workers}, {(*TESTS[0:2], *TESTS[4:6]), (*TESTS[2:4],)})

    def test_alone(self) -> None:
        """A test that runs alone begins when all other workers have ended."""
        plan = Plan(alone=frozenset(["a.py::1", "c.py::2"]))
        scheduler = self.scheduler(3, plan=plan)
        while self.step(scheduler):
            if any(set(worker.ran) & plan.alone for worker in self.workers):
                self.assertLessEqual(len(scheduler.nodes), 1)
        ran = [worker.ran for worker in self.workers]
        self.assertEqual(sorted(itertools.chain(*ran)), TESTS)
        self.assertEqual([tests[-2:] for tests in ran if set(tests) & plan.alone], [["a.py::1", "c.py::2"]])
        self.assertEqual(scheduler.nodes, [])

    def test_nothing_but_alone(self) -> None:
        """Tests that run alone are run if there are no others."""
        self.run_all(self.scheduler(2, plan=Plan(alone=frozenset(TESTS))))
        self.assertEqual(sorted(len(worker.ran) for worker in self.workers), [0, len(TESTS)])

    def test_crashed_worker(self) -> None:
        """The test that a worker died of is named, and the others of its queue are run elsewhere."""
        scheduler = self.scheduler(2)
        crashed = scheduler.remove_node(self.workers[0])
        self.assertEqual(crashed, TESTS[0])
        self.run_all(scheduler)
        self.assertEqual(sorted(self.workers[1].ran), TESTS[1:])

    def test_replaced_worker(self) -> None:
        """A worker that takes the place of one that died gets work once it has collected the same tests."""
        scheduler = self.scheduler(1)
        scheduler.remove_node(self.workers[0])
        replacement = FakeWorker("replacement")
        self.workers.append(replacement)
        scheduler.add_node(replacement)
        scheduler.add_node_collection(replacement, TESTS)
        scheduler.schedule()
        self.run_all(scheduler)
        self.assertEqual(sorted(replacement.ran), TESTS[1:])

    def test_no_tests(self) -> None:
        """A run without a test ends."""
        self.run_all(self.scheduler(2, []))

    def test_other_tests_collected(self) -> None:
        """Workers that collected other tests than the first are an error, and not left out."""
        scheduler = Scheduler(2, Plan, {})
        for name, tests in (("1", TESTS), ("2", TESTS[1:])):
            worker = FakeWorker(name)
            scheduler.add_node(worker)
            scheduler.add_node_collection(worker, tests)
        self.assertRaises(RuntimeError, scheduler.schedule)
