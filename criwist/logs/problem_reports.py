"""Log messages about the problems of one container's log: each problem once, and when writing continues."""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from criwist.interfaces.metrics import NO_METRICS, IMetrics


@define(eq=False)
class ProblemReports:
    """Logs problems of one container's log for the operator."""

    _container: str
    _metrics: IMetrics = NO_METRICS
    _log: Logger = field(factory=Logger, kw_only=True)
    _blocked_by: str = field(default="", init=False)
    _is_record_failure_logged: bool = field(default=False, init=False)

    def blocked(self, error: Exception) -> None:
        """Report that the CRI file cannot be written, or Docker's log not read, for now.

        The same error is logged once until :meth:`unblocked`.
        """
        problem = str(error)
        if problem != self._blocked_by:
            self._blocked_by = problem
            self._log.error(
                "The log of container {container} cannot be written for now, criwist retries: {problem}",
                container=self._container,
                problem=problem,
            )

    def unblocked(self) -> None:
        """Report that writing continues, if it was blocked.  To be called after every success."""
        if self._blocked_by:
            self._blocked_by = ""
            self._log.info("The log of container {container} is written again", container=self._container)

    def record_failed(self, error: Exception) -> None:
        """Report, once, that the position in the log cannot be recorded."""
        if not self._is_record_failure_logged:
            self._is_record_failure_logged = True
            self._log.error(
                "The position in the log of container {container} cannot be recorded: {problem}; "
                "criwist has to compare more of the log after a restart",
                container=self._container,
                problem=str(error),
            )

    def diverged(self, divergence: Exception) -> None:
        """Report that the CRI file does not hold what criwist wrote."""
        self._log.warn(
            "The log of container {container} is not what criwist wrote: {problem}; "
            "criwist continues after its last line",
            container=self._container,
            problem=str(divergence),
        )

    def lines_lost(self, reason: str) -> None:
        """Report that some of the container's output may never be in the CRI file."""
        self._metrics.log_loss()
        self._log.warn(
            "Lines may be missing from the log of container {container}: {reason}",
            container=self._container,
            reason=reason,
        )

    def damaged(self, count: int) -> None:
        """Report that Docker's own log has *count* damaged places."""
        self._log.warn(
            "Docker's log of container {container} is damaged in {places} places, criwist skips them",
            container=self._container,
            places=count,
        )

    def driver_unreadable(self, driver: str, problem: str) -> None:
        """Report that the log driver keeps nothing that can be read back."""
        self._log.warn(
            "There is no log of container {container}: its log driver {driver} cannot be read back{problem}",
            container=self._container,
            driver=driver,
            problem=f" ({problem})" if problem else "",
        )
