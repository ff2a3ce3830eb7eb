"""The log of a container whose log driver cannot be read back: one line that says so, where the log is looked for."""

from __future__ import annotations

from attrs import define, field

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.cri_file.cri_file import CriFile
from criwist.logs.reports import Reports
from criwist.wire.crilog import Line, encode, time_text


def notice(driver: str, moment: int) -> bytes:
    """The line.  It is on stderr: a reader of the container's output proper does not get it."""
    text = f"criwist: the log driver {driver} keeps nothing of what this container writes that could be shown here"
    return encode(Line(time_text(moment), b"stderr", False, text.encode("utf-8", "replace").replace(b"\n", b" ")))


@define(eq=False)
class UnreadableLog:
    """One container's notice, written at *moment*, nanoseconds since the epoch, unless the file has something."""

    _container: LoggedContainer
    _output: CriFile
    _moment: int
    _reports: Reports
    _written: bool = field(default=False, init=False)

    def follow(self, container: LoggedContainer) -> None:
        """Write the notice."""
        if self._written:
            return
        self._reports.unreadable(container.driver, "")
        try:
            self._output.open()
            if not self._output.length:
                self._output.append(notice(container.driver, self._moment))
            self._written = True
        except OSError as error:
            self._reports.stuck(error)

    async def settled(self) -> None:
        """There is nothing to wait for."""

    async def reopen(self) -> None:
        """Open the file anew."""
        self._output.reopen()

    async def forget(self) -> None:
        """Let go of the file."""
        self.stop()

    def stop(self) -> None:
        """Let go of the file."""
        self._output.close()
