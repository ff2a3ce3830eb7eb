"""Searches Docker's log for the CRI file's last line, and leaves the log's position just after it.

The log is read from its position to its end for the line itself.  If the line is not there, the log is read once more,
from its oldest entry, for the first line that is newer.
"""

from __future__ import annotations

from bisect import bisect_left

from attrs import define, field

from criwist.logs.cri_file.last_line import LastLine
from criwist.logs.docker_files.docker_log import READ_SIZE, DockerLog
from criwist.wire.crilog import Converted


@define(eq=False)
class LastLineSearch:
    """One search in *docker_log*."""

    _docker_log: DockerLog
    _last_line: LastLine
    _by_time: bool = field(default=False, init=False)
    #: What :meth:`find` found; it is asked again if the log could not be advanced then.
    _offset: int | None = field(default=None, init=False)

    def find(self, output: bytes) -> int | None:
        """Return the offset in *output*, the log's next lines, at which the search ends; None to continue."""
        if self._offset is None:
            self._offset = self._last_line.find_newer(output) if self._by_time else self._last_line.find(output)
        return self._offset

    def advance_log(self, offset: int) -> None:
        """Advance the log by the entries whose lines end at *offset* of its last read.

        :raises OSError: Docker's files cannot be read.
        """
        if offset:
            size = bisect_left(range(READ_SIZE), offset, lo=1, key=lambda size: len(self._read(size).output))
            self._docker_log.advance(self._read(size).consumed)

    def restart_by_time(self) -> bool:
        """Go to the oldest entry and search for a newer line; False if the log was searched for that already.

        :raises OSError: Docker's files cannot be read.
        """
        if self._by_time:
            return False
        self._by_time = True
        self._docker_log.seek_oldest()
        return True

    def _read(self, size: int) -> Converted:
        result = self._docker_log.read(size)
        return result if isinstance(result, Converted) else Converted(b"", 0)
