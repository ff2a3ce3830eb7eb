"""What holds for all tests: hypothesis' settings, the process they run in, the workers they run on, and progress."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.environment import end_with_parent, normalize
from tests.harness.progress import Progress, expected_seconds, read_durations, write_durations
from tests.harness.scheduler import Plan, Scheduler, groups_of

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("criwist", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("criwist")

#: What the controller sends to its workers: the path of the file that the first of them writes the plan into.
_PLAN = "criwist_plan"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    parser.addoption("--write-durations", action="store_true", help="write how long each group of tests took")


def pytest_configure(config: pytest.Config) -> None:
    """Make the process what tests expect, and show progress where the results come together."""
    normalize()
    if hasattr(config, "workerinput"):
        end_with_parent()
    else:
        config.pluginmanager.register(_Results(config), "criwist-results")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """On the first worker: write what the controller's scheduler has to know of the tests.

    It is called before xdist's own hook, which reports to the controller that the tests are collected.
    """
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if worker is not None and worker["workerid"] == "gw0":
        plan_of(session.items).write(Path(worker[_PLAN]))


def plan_of(items: Sequence[pytest.Item]) -> Plan:
    """Return what the scheduler has to know of these tests."""
    engines = {item.nodeid: engine for item in items if (engine := engine_of(item))}
    return Plan(engines, frozenset(item.nodeid for item in items if item.get_closest_marker("alone")))


def engine_of(item: pytest.Item) -> str:
    """Return the name of the newer engine that a test runs on; ``""``: on those that every worker has.

    The parameter of the fixture ``cri``, or the attribute ``newer`` of the test's class, says so.
    """
    call = getattr(item, "callspec", None)
    name = call.params.get("cri", "") if call is not None else ""
    if isinstance(name, str) and name.startswith("docker-"):
        return name
    newer: str = getattr(getattr(item, "cls", None), "newer", "")
    return newer


class _Results:
    """The plugin of the process that prints: the controller, or the only process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._scheduler: Scheduler | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="criwist-plan-")
        self._progress = Progress(self._write)
        self._plan = Plan()

    def _write(self, line: str) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self._config.option.verbose >= 0:
            if reporter._tw.width_of_current_line:
                reporter.write_line("")
            reporter.write_line(line)

    # -- pytest-xdist's hooks, in the controller

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell the worker where to write the plan."""
        node.workerinput[_PLAN] = os.path.join(self._directory.name, "plan.json")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> Scheduler:
        """Return our scheduler, whatever ``--dist`` says."""
        from xdist.workermanage import parse_tx_spec_config

        workers = len(parse_tx_spec_config(config))
        self._scheduler = Scheduler(workers, lambda: self._begin_with_workers(workers), read_durations())
        return self._scheduler

    def _begin_with_workers(self, workers: int) -> Plan:
        assert self._scheduler is not None
        plan = Plan.read(Path(self._directory.name, "plan.json"))
        self._begin(self._scheduler.collection or [], plan, workers)
        return plan

    # -- pytest's hooks

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers: print how long the tests will take."""
        if session.items:
            self._begin([item.nodeid for item in session.items], plan_of(session.items), 1)

    def _begin(self, tests: Sequence[str], plan: Plan, workers: int) -> None:
        self._plan = plan
        durations = read_durations()
        shared = groups_of([test for test in tests if test not in plan.alone], plan, durations)
        alone = groups_of([test for test in tests if test in plan.alone], plan, durations)
        weights = {test: group.seconds / len(group.tests) for group in (*shared, *alone) for test in group.tests}
        self._progress.begin(weights, expected_seconds(shared, sum(group.seconds for group in alone), workers))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a test begins."""
        self._progress.started(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note that a test has ended."""
        self._progress.ended(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a phase of a test took."""
        self._progress.took(report)

    def pytest_unconfigure(self) -> None:
        """Write the durations if that was asked for."""
        if self._config.getoption("--write-durations"):
            write_durations(self._progress.seconds, self._plan)
        self._directory.cleanup()
