"""What the operator is told of one container's log: each trouble once, and its end."""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger


@define(eq=False)
class Reports:
    """The reports on one container."""

    _container: str
    _log: Logger = field(factory=Logger, kw_only=True)
    _stuck: str = field(default="", init=False)
    _unrecorded: bool = field(default=False, init=False)

    def stuck(self, error: Exception) -> None:
        """The log cannot be written, or Docker's not read, for now."""
        problem = str(error)
        if problem != self._stuck:
            self._stuck = problem
            self._log.error(
                "The log of container {container} stands still until this is better: {problem}",
                container=self._container,
                problem=problem,
            )

    def unstuck(self) -> None:
        """It goes on.  To be called whenever it does."""
        if self._stuck:
            self._stuck = ""
            self._log.info("The log of container {container} goes on", container=self._container)

    def unrecorded(self, error: Exception) -> None:
        """How far it is written cannot be recorded."""
        if not self._unrecorded:
            self._unrecorded = True
            self._log.error(
                "How far the log of container {container} is written cannot be recorded: {problem}; "
                "a restart would have more to compare",
                container=self._container,
                problem=str(error),
            )

    def diverged(self, divergence: Exception) -> None:
        """The file is not what we left of it."""
        self._log.warn(
            "The log of container {container} is not as it was left: {problem}; it goes on behind its last line",
            container=self._container,
            problem=str(divergence),
        )

    def loss(self, reason: str) -> None:
        """Some of what the container wrote may never get into the log."""
        self._log.warn(
            "Lines may be missing from the log of container {container}: {reason}",
            container=self._container,
            reason=reason,
        )

    def damage(self, places: int) -> None:
        """Docker's own log has entries that are none."""
        self._log.warn(
            "Docker's log of container {container} is damaged in {places} places, which are left out",
            container=self._container,
            places=places,
        )

    def unreadable(self, driver: str, problem: str) -> None:
        """The driver keeps nothing that could be read."""
        self._log.warn(
            "There is no log of container {container}: its log driver {driver} cannot be read back{problem}",
            container=self._container,
            driver=driver,
            problem=f" ({problem})" if problem else "",
        )
