"""Waiting for the end of an exec."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.exec.exec_exit import exit_code
from criwist.core.exec.exec_polling import POLL_INTERVAL, ExecPoller
from criwist.core.state.event_feed import _exit_code
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
    """The exit code comes from the event, or from the engine's record."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.end_event: Deferred[int | None] = Deferred()
        self.output_ended: Deferred[None] = Deferred()

    def waiting(self, engine: Engine) -> Deferred[int]:
        """Start to wait for the exit code."""
        docker: Any = engine
        poller = ExecPoller(docker, self.clock, "e")
        return Deferred.fromCoroutine(exit_code(poller, self.end_event, self.output_ended))

    def test_the_event_has_the_code(self) -> None:
        """The event's code is returned without a poll."""
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.end_event.callback(7)
        self.assertEqual((self.successResultOf(waiting), engine.polls), (7, 0))

    def test_an_event_that_may_have_been_missed(self) -> None:
        """The engine is polled until it has recorded the end."""
        engine = Engine(_RUNNING, _ENDED)
        waiting = self.waiting(engine)
        self.end_event.callback(None)
        self.assertNoResult(waiting)
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_output_that_ends_first(self) -> None:
        """One poll finds a command that could not be run, which has no event; a command that runs on is not polled."""
        self.output_ended.callback(None)
        self.assertEqual(self.successResultOf(self.waiting(Engine(_ENDED))), 3)
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.clock.advance(10)
        self.assertNoResult(waiting)
        self.end_event.callback(0)
        self.assertEqual((self.successResultOf(waiting), engine.polls), (0, 1))

    def test_an_engine_that_never_records_it(self) -> None:
        """After some seconds of polls, that is the error."""
        waiting = self.waiting(Engine(_RUNNING))
        self.end_event.callback(None)
        self.clock.pump([POLL_INTERVAL] * 300)
        self.failureResultOf(waiting, EngineFailure)

    def test_codes_of_events(self) -> None:
        """A code is a number; an event without one has the code None."""
        for text, code in (("0", 0), ("137", 137), ("", None), ("x", None), ("-1", None)):
            self.assertEqual(_exit_code({"exitCode": text}), code)
        self.assertIsNone(_exit_code({}))


class LivePidTests(SynchronousTestCase):
    """The pid of an exec, to be signalled."""

    def pid(self, *answers: dict[str, Any]) -> int:
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
        """0 for a process that has ended, whose pid may be another's, and for one that is not started in time."""
        self.assertEqual(self.pid({**_ENDED, "Pid": 5}), 0)
        self.assertEqual(self.pid({"Running": False, "ExitCode": None, "Pid": 0}), 0)
