"""Waiting for the end of an exec."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.exec.exec_exit import LOOK_PAUSE, exit_code
from criwist.core.state.event_feed import _exit_code
from criwist.errors import EngineFailure

_RUNNING = {"Running": True, "ExitCode": None}
_ENDED = {"Running": False, "ExitCode": 3}


class Engine:
    """Answers inspections in turn, the last one for ever."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.looks = 0

    async def inspect_exec(self, exec_id: str) -> dict[str, Any]:
        """The next answer."""
        assert exec_id == "e"
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class ExecEndTests(SynchronousTestCase):
    """Who tells the code, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: Deferred[int | None] = Deferred()
        self.output_ended: Deferred[None] = Deferred()

    def waiting(self, engine: Engine) -> Deferred[int]:
        """A wait that has begun."""
        docker: Any = engine
        return Deferred.fromCoroutine(exit_code(docker, self.clock, "e", self.told, self.output_ended))

    def test_the_event_has_the_code(self) -> None:
        """The engine is not asked again."""
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.told.callback(7)
        self.assertEqual((self.successResultOf(waiting), engine.looks), (7, 0))

    def test_an_event_that_may_have_been_missed(self) -> None:
        """The engine is asked, until it has recorded the end."""
        engine = Engine(_RUNNING, _ENDED)
        waiting = self.waiting(engine)
        self.told.callback(None)
        self.assertNoResult(waiting)
        self.clock.advance(LOOK_PAUSE)
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_output_that_ends_first(self) -> None:
        """Of what could not be run there is no event; what runs on is waited for, without asking again."""
        self.output_ended.callback(None)
        self.assertEqual(self.successResultOf(self.waiting(Engine(_ENDED))), 3)
        engine = Engine(_RUNNING)
        waiting = self.waiting(engine)
        self.clock.advance(10)
        self.assertNoResult(waiting)
        self.told.callback(0)
        self.assertEqual((self.successResultOf(waiting), engine.looks), (0, 1))

    def test_an_engine_that_never_records_it(self) -> None:
        """It is asked for seconds, then that is said."""
        waiting = self.waiting(Engine(_RUNNING))
        self.told.callback(None)
        self.clock.pump([LOOK_PAUSE] * 300)
        self.failureResultOf(waiting, EngineFailure)

    def test_codes_of_events(self) -> None:
        """A code is a number; without one the engine has to be asked."""
        for text, code in (("0", 0), ("137", 137), ("", None), ("x", None), ("-1", None)):
            self.assertEqual(_exit_code({"exitCode": text}), code)
        self.assertIsNone(_exit_code({}))
