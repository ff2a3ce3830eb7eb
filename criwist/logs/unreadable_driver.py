"""The log of a container whose log driver cannot be read back: one line in the CRI file explains that."""

from __future__ import annotations

from attrs import define, field

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.cri_file.cri_file import CriFile
from criwist.logs.problem_reports import ProblemReports
from criwist.wire.crilog import Line, encode, time_text


def unreadable_driver_line(driver: str, moment: int) -> bytes:
    """Return the CRI line that explains why the log is empty.

    It is on stderr, so that a reader of the container's stdout does not get it.

    :param moment: the time of the line, nanoseconds since the epoch.
    """
    text = f"criwist: the log driver {driver} keeps none of this container's output in a form that can be read back"
    return encode(Line(time_text(moment), b"stderr", False, text.encode("utf-8", "replace").replace(b"\n", b" ")))


@define(eq=False)
class UnreadableLog:
    """Writes the explanation for one container, with the time *moment*, unless the file already has lines.

    :param moment: nanoseconds since the epoch.
    """

    _container: LoggedContainer
    _cri_file: CriFile
    _moment: int
    _problems: ProblemReports
    _is_written: bool = field(default=False, init=False)

    def follow(self, container: LoggedContainer) -> None:
        """Write the line, if that is not done."""
        if self._is_written:
            return
        self._problems.driver_unreadable(container.driver, "")
        try:
            self._cri_file.open()
            if not self._cri_file.length:
                self._cri_file.append(unreadable_driver_line(container.driver, self._moment))
            self._is_written = True
        except OSError as error:
            self._problems.blocked(error)

    async def settled(self) -> None:
        """Return at once: no more lines come."""

    async def reopen(self) -> None:
        """Open the file at the path again."""
        self._cri_file.reopen()

    async def forget(self) -> None:
        """Close the file."""
        self.stop()

    def stop(self) -> None:
        """Close the file."""
        self._cri_file.close()
