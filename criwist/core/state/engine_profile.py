"""The profile of the connected engine: its facts, and the least oom_score_adj that it can set.

An engine without CAP_SYS_RESOURCE cannot lower a process's oom_score_adj, and runc answers an attempt with "can't
get final child's PID from pipe: EOF".  So scores are clamped to a floor.  It is read from the engine's process if that
runs on this machine, else derived from the first failed start.  Either is logged once.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from criwist import errors
from criwist.interfaces.engine import EngineFacts, IDocker

#: The kernel's least oom_score_adj: the score of a process that is never killed.
LEAST_SCORE = -1000

_REFUSAL = "can't get final child's PID from pipe"


@define(eq=False)
class EngineProfile:
    """The engine's facts and its oom_score_adj floor.

    :param read_floor: returns the least oom_score_adj that the engine may set, or None if it is not known here.
    """

    _docker: IDocker
    _read_floor: Callable[[], int | None]
    _floor: int = field(default=LEAST_SCORE, init=False)
    _log = Logger()

    @property
    def facts(self) -> EngineFacts:
        """The engine's facts.

        :raises Unavailable: the engine has never answered.
        """
        facts: EngineFacts | None = self._docker.facts
        if facts is None:
            raise errors.Unavailable("Docker has not answered yet")
        return facts

    @property
    def known_facts(self) -> EngineFacts | None:
        """The engine's facts; None if it has never answered."""
        facts: EngineFacts | None = self._docker.facts
        return facts

    @property
    def oom_score_floor(self) -> int:
        """The least oom_score_adj for a container."""
        return self._floor

    async def connected(self, facts: EngineFacts) -> None:
        """Read the floor of a newly connected engine, which may be another one than before."""
        floor = self._read_floor()
        if floor is not None:
            self._set_floor(floor)

    def raise_oom_score_floor(self, error: errors.CriwistError, oom_score_adj: int) -> bool:
        """Raise the floor to 0 if a start failed because *oom_score_adj* is too low; return whether it did.

        True means that the caller creates the container again; it is returned at most once for an engine.
        """
        if oom_score_adj >= 0 or oom_score_adj < self._floor or _REFUSAL not in str(error):
            return False
        self._set_floor(0)
        return True

    def _set_floor(self, floor: int) -> None:
        if floor > LEAST_SCORE and floor != self._floor:
            self._log.warn(
                "the engine cannot set an oom_score_adj below {floor}, it lacks CAP_SYS_RESOURCE; "
                "pods that request less get {floor}",
                floor=floor,
            )
        self._floor = floor
