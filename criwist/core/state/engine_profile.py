"""What is known of the engine, for those who make requests of it.

An engine without CAP_SYS_RESOURCE cannot lower a process's oom_score_adj, and runc answers an attempt with "can't
get final child's PID from pipe: EOF".  So scores are clamped to a floor: read from the engine's process where it
runs on this machine, else learned from the first refusal.  Either is said once.
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
    """The engine's facts, and what it may do.

    :param read_floor: the least oom_score_adj that the engine may set, or None if that cannot be told from here.
    """

    _docker: IDocker
    _read_floor: Callable[[], int | None]
    _floor: int = field(default=LEAST_SCORE, init=False)
    _log = Logger()

    @property
    def facts(self) -> EngineFacts:
        """The facts.

        :raises Unavailable: the engine has never answered.
        """
        facts: EngineFacts | None = self._docker.facts
        if facts is None:
            raise errors.Unavailable("Docker has not answered yet")
        return facts

    @property
    def oom_score_floor(self) -> int:
        """The least oom_score_adj to ask for."""
        return self._floor

    async def connected(self, facts: EngineFacts) -> None:
        """The engine was connected to, perhaps another one than before."""
        floor = self._read_floor()
        if floor is not None:
            self._lower_bound(floor)

    def raise_oom_score_floor(self, error: errors.CriwistError, oom_score_adj: int) -> bool:
        """Whether a start failed since *oom_score_adj* is too low; the floor is 0 from then on.

        True asks the caller to create the container again; it is said at most once for an engine.
        """
        if oom_score_adj >= 0 or oom_score_adj < self._floor or _REFUSAL not in str(error):
            return False
        self._lower_bound(0)
        return True

    def _lower_bound(self, floor: int) -> None:
        if floor > LEAST_SCORE and floor != self._floor:
            self._log.warn(
                "the engine may not set an oom_score_adj below {floor} (it lacks CAP_SYS_RESOURCE): "
                "pods that ask for less get {floor}",
                floor=floor,
            )
        self._floor = floor
