"""Waiting for the end of an exec."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.exec.exec_exit import exit_code
from criwist.core.exec.exec_polling import POLL_INTERVAL, ExecPoller
from criwist.core.state.exec_ends import ExecEnds
from criwist.errors import EngineFailure

_RUNNING = {"Running": True, "ExitCode": None}
_ENDED = {"Running": False, "ExitCode": 3}


class Engine:
    """Answers inspections in turn, and repeats the last answer."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.polls = 0

    async def inspect_exec(self, exec_id: str) -> dict[str, Any]:
        """Return the next answer."""
        assert exec_id == "e"
        self.polls += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class ExecExitTests(SynchronousTestCase):
    """The exit code comes from the exec, when events or its output tell that it may have ended."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ends = ExecEnds()
        self.end = self.ends.watch("e", "c")
        self.output_ended: Deferred[None] = Deferred()

    def waiting(self, engine: Engine) -> Deferred[int]:
        """Start to wait for the exit code."""
        docker: Any = engine
        poller = ExecPoller(docker, self.clock, "e")
        return Deferred.fromCoroutine(exit_code(poller, self.end, self.output_ended))

    def test_the_event_names_it(self) -> None:
        """The code is read from the exec, until the engine has recorded it."""
        waiting = self.waiting(Engine(_RUNNING, _ENDED))
        self.ends.event("c", "e")
        self.assertNoResult(waiting)
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_events_of_others(self) -> None:
        """An event of another container tells nothing, nor does one that names another exec which is watched."""
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.ends.watch("other", "c")
        self.ends.event("c", "other")
        self.ends.event("d", "e")
        self.assertNoResult(waiting)
        self.assertEqual(engine.polls, 0)

    def test_an_event_that_names_nobody(self) -> None:
        """Labels override the attribute that names the exec: each exec of the container is read, and may run on."""
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        for _ in range(2):
            self.ends.event("c", "forged")
            self.clock.pump([POLL_INTERVAL] * 300)
            self.assertNoResult(waiting)
        engine.answers = [_ENDED]
        self.ends.missed()
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_an_event_before_it_is_awaited(self) -> None:
        """What was told before, by name or not, is not lost."""
        self.ends.event("c", "e")
        self.ends.event("c", "forged")
        self.assertIs(self.successResultOf(self.end.told()), True)
        self.assertNoResult(self.end.told())
        self.end.close()
        self.end.close()
        self.ends.event("c", "e")
        self.ends.missed()

    def test_output_that_ends_first(self) -> None:
        """One poll finds a command that could not be run, which has no event; a command that runs on is not polled."""
        self.output_ended.callback(None)
        self.assertEqual(self.successResultOf(self.waiting(Engine(_ENDED))), 3)
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.clock.advance(10)
        self.assertNoResult(waiting)
        self.assertEqual(engine.polls, 1)
        engine.answers = [_ENDED]
        self.ends.event("c", "e")
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_an_engine_that_never_records_it(self) -> None:
        """After some seconds of polls, that is the error."""
        waiting = self.waiting(Engine(_RUNNING))
        self.ends.event("c", "e")
        self.clock.pump([POLL_INTERVAL] * 300)
        self.failureResultOf(waiting, EngineFailure)


class LivePidTests(SynchronousTestCase):
    """The pid of an exec, to be signalled."""

    def pid(self, *answers: dict[str, Any]) -> int | None:
        """Return the pid that is found within three polls."""
        docker: Any = Engine(*answers)
        clock = Clock()
        finding = Deferred.fromCoroutine(ExecPoller(docker, clock, "e").live_pid(2 * POLL_INTERVAL))
        clock.pump([POLL_INTERVAL] * 2)
        return self.successResultOf(finding)

    def test_a_process_that_is_being_started(self) -> None:
        """The engine sets Running before it starts the process: the pid is waited for."""
        created, starting = {"Running": False, "ExitCode": None, "Pid": 0}, {**_RUNNING, "Pid": 0}
        self.assertEqual(self.pid(created, starting, {**_RUNNING, "Pid": 5}), 5)

    def test_no_process_to_signal(self) -> None:
        """0 for a process that has ended, whose pid may be another's; None for one that is not started in time."""
        self.assertEqual(self.pid({**_ENDED, "Pid": 5}), 0)
        self.assertIsNone(self.pid({"Running": False, "ExitCode": None, "Pid": 0}))
