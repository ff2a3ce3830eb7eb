"""Which worker runs which test: a scheduler for pytest-xdist.

A *group* is the tests of one module on one engine; its tests run on one worker, one after another, so that the fixtures
of a module are made once.  A worker that has nearly nothing left to do gets the next group:

1. a group of an engine that this worker has started already, since other workers would have to start it again;
2. else the longest group of an engine that no worker has started, or of the shared engines, of which each worker has
   its own;
3. else the longest group of another worker's engine, if it lasts longer than the start of an engine.

Tests marked ``alone`` measure time or flood the machine.  They run on the last worker when all others have ended.

The controller of pytest-xdist knows only the ids of tests.  What it needs beside them (:class:`Plan`) the first worker
writes into a file, whose path the controller has sent to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

#: Seconds that a test is assumed to last that belongs to a group whose duration is not known.
UNKNOWN = 0.5
#: Seconds that the start of an engine costs, with its images.
ENGINE_START = 8.0
#: A worker holds its last test back until it has another one, or hears that there is none (pytest-xdist's rule).
_ENOUGH = 2


class Worker(Protocol):
    """What is used of xdist's WorkerController."""

    shutting_down: bool

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Add tests to the worker's queue."""

    def shutdown(self) -> None:
        """Let the worker end after the tests in its queue."""


@frozen
class Plan:
    """What the scheduler knows of the tests beside their ids."""

    #: Test id to the name of the engine that it runs on, for engines that not every worker has.
    engines: Mapping[str, str] = field(factory=dict)
    #: Ids of the tests that run alone.
    alone: frozenset[str] = frozenset()

    def group(self, test: str) -> str:
        """Return the name of a test's group: its module and, after ``@``, the engine that not every worker has."""
        engine = self.engines.get(test)
        module = test.partition("::")[0]
        return f"{module}@{engine}" if engine else module

    def write(self, path: Path) -> None:
        """Write it for another process."""
        path.write_text(json.dumps({"engines": dict(self.engines), "alone": sorted(self.alone)}))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read what :meth:`write` wrote."""
        document = json.loads(path.read_text())
        return cls(document["engines"], frozenset(document["alone"]))


@frozen
class Group:
    """Tests that run on one worker, in their order."""

    name: str
    #: ``""``: the engines that every worker has.
    engine: str
    tests: tuple[str, ...]
    seconds: float


def groups_of(tests: Sequence[str], plan: Plan, durations: Mapping[str, float]) -> list[Group]:
    """Return the groups of *tests*, the longest first.

    :param durations: a group's name to the seconds that each of its tests took in an earlier run, on average.
    """
    members: dict[str, list[str]] = {}
    for test in tests:
        members.setdefault(plan.group(test), []).append(test)
    groups = [
        Group(name, plan.engines.get(each[0], ""), tuple(each), durations.get(name, UNKNOWN) * len(each))
        for name, each in members.items()
    ]
    return sorted(groups, key=lambda group: group.seconds, reverse=True)


@define(eq=False)
class _Queue:
    """One worker's tests."""

    index: Mapping[str, int]
    pending: dict[str, None] = field(factory=dict)
    engines: set[str] = field(factory=set)


@define(eq=False)
class Scheduler:
    """Implements xdist's ``Scheduling`` protocol.

    :param workers: how many workers begin.
    :param read_plan: called once, when all workers have collected the tests.
    :param durations: a group's name to the seconds that each of its tests took in an earlier run, on average.
    """

    _workers: int
    _read_plan: Callable[[], Plan]
    _durations: Mapping[str, float]
    #: The tests, once all workers have collected them.
    collection: list[str] | None = field(default=None, init=False)
    plan: Plan = field(factory=Plan, init=False)
    #: A worker's tests; None until it has collected them.
    _collected: dict[Worker, list[str] | None] = field(factory=dict, init=False)
    _queues: dict[Worker, _Queue] = field(factory=dict, init=False)
    _groups: list[Group] = field(factory=list, init=False)
    _alone: list[str] = field(factory=list, init=False)

    # -- xdist's protocol

    @property
    def nodes(self) -> list[Worker]:
        """The workers that have not ended."""
        return list(self._collected)

    @property
    def collection_is_completed(self) -> bool:
        """Whether the workers that begin have collected."""
        return (
            self.collection is not None or sum(each is not None for each in self._collected.values()) >= self._workers
        )

    @property
    def tests_finished(self) -> bool:
        """Whether there is nothing left but tests that workers hold back until they are told to end."""
        if self.collection is None or self._groups or self._alone:
            return False
        return all(len(queue.pending) < _ENOUGH for queue in self._queues.values())

    @property
    def has_pending(self) -> bool:
        """Whether tests are left, waiting or running."""
        return bool(self._groups or self._alone or any(queue.pending for queue in self._queues.values()))

    def add_node(self, node: Worker) -> None:
        """Add a worker, which has not collected yet."""
        self._collected[node] = None

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """Keep what a worker has collected."""
        self._collected[node] = list(collection)

    def schedule(self) -> None:
        """Give every worker its first groups; called when all have collected, and when one has been replaced."""
        if self.collection is None:
            self.collection = next(tests for tests in self._collected.values() if tests is not None)
            differing = [node for node, tests in self._collected.items() if tests != self.collection]
            if differing:
                raise RuntimeError(f"{len(differing)} of {len(self._collected)} workers collected other tests")
            self.plan = self._read_plan()
            self._add(self.collection)
        for node, tests in self._collected.items():
            if node not in self._queues and tests == self.collection:
                self._queues[node] = _Queue({test: index for index, test in enumerate(tests)})
        for node in list(self._queues):
            self._feed(node)

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        """Take a test from a worker's queue, and fill the queue again."""
        assert self.collection is not None
        self._queues[node].pending.pop(self.collection[item_index], None)
        self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Refuse: tests are not run again."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        """Refuse: tests are not taken back."""
        raise NotImplementedError

    def remove_node(self, node: Worker) -> str | None:
        """Forget a worker that has ended.  Return the test that it died of, if it did; others get the rest."""
        self._collected.pop(node)
        queue = self._queues.pop(node, None)
        crashed = None
        if queue is not None and queue.pending:
            crashed, *rest = queue.pending
            self._add(rest)
        for other in list(self._queues):
            self._feed(other)
        return crashed

    # -- what to run next

    def _add(self, tests: Sequence[str]) -> None:
        waiting = [test for test in tests if test not in self.plan.alone]
        self._groups += groups_of(waiting, self.plan, self._durations)
        self._groups.sort(key=lambda group: group.seconds, reverse=True)
        self._alone += [test for test in tests if test in self.plan.alone]

    def _feed(self, node: Worker) -> None:
        """See that the worker's queue is long enough, or that the worker ends."""
        queue = self._queues[node]
        while not node.shutting_down and len(queue.pending) < _ENOUGH:
            tests = self._next(queue)
            if tests:
                queue.pending.update(dict.fromkeys(tests))
                node.send_runtest_some([queue.index[test] for test in tests])
            elif self._alone and self._is_last(node):
                return  # it gets them when the others have ended
            else:
                node.shutdown()

    def _next(self, queue: _Queue) -> Sequence[str]:
        group = self._choose(queue.engines)
        if group is not None:
            self._groups.remove(group)
            if group.engine:
                queue.engines.add(group.engine)
            return group.tests
        if self._alone and len(self._queues) == 1:
            tests, self._alone = self._alone, []
            return tests
        return ()

    def _choose(self, own: set[str]) -> Group | None:
        """Return the next group for a worker that has started these engines."""
        started = {engine for queue in self._queues.values() for engine in queue.engines}
        for group in self._groups:
            if group.engine in own:
                return group
        for group in self._groups:
            if not group.engine or group.engine not in started:
                return group
        return next((group for group in self._groups if group.seconds > ENGINE_START), None)

    def _is_last(self, node: Worker) -> bool:
        """Whether all other workers have been told to end."""
        return all(other.shutting_down for other in self._queues if other is not node)
