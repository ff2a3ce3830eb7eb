"""Where to continue in the response of the engine's log API, without losing or doubling a line.

The API knows no positions, only ``since``: it sends all lines whose time is not before a moment, in the order in which
the engine recorded them.  Times need not be in order.  The lines that criwist has written are the first N of all lines.
Without the lines before the moment, they still are the first lines of the response.  So it is enough to count the
written lines whose time is not before the moment, to request all lines since then, and to skip as many.

The moment must be so old that no line before it can still come: a few seconds, and not within a line whose first pieces
are written, because all pieces have the time of the first.  Hence :class:`RollingCursor` keeps two cursors: the one
that is used, and a newer one that takes its place when it has become old enough.

criwist does not rely on the engine to send the same lines again.  The engine may have removed its oldest file; and
engines before 23 leave lines out of a log that is followed while they rotate its file.  The first and the last line
that are skipped have to be the ones that were written; otherwise the last written line is searched for.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from criwist.logs.cri_file.last_line import LastLine
from criwist.wire.crilog import TIME_LENGTH, nanoseconds, time_text

#: Nanoseconds by which a line may be older than one that the engine recorded before it: the engine copies stdout and
#: stderr concurrently, and clocks are set.
MAX_DISORDER: Final = 5 * 10**9
#: The stream and the tag in a CRI line.
_STREAM: Final = slice(TIME_LENGTH + 1, TIME_LENGTH + 7)
_TAG: Final = slice(TIME_LENGTH + 8, TIME_LENGTH + 9)
#: The number of lines after the moment is not known.
UNKNOWN: Final = -1


@frozen
class ApiCursor:
    """A moment, and the lines that are written from then on."""

    #: Nanoseconds since the epoch; 0: the beginning.
    since: int = 0
    #: Number of written lines whose time is not before that, or :data:`UNKNOWN`.
    count: int = 0
    #: CRC-32 of the first of them.
    first: int = 0
    #: The time of the newest written line, nanoseconds since the epoch.
    last: int = 0

    @property
    def parameter(self) -> str:
        """The moment as the API's parameter ``since``: seconds and nanoseconds."""
        seconds, fraction = divmod(self.since, 10**9)
        return f"{seconds}.{fraction:09d}"

    def with_lines(self, lines: Sequence[bytes], oldest: bytes, newest: int) -> ApiCursor:
        """Return the cursor after these lines, at least one, are written too.

        :param oldest: time of the oldest of them, as in the line.
        :param newest: time of the newest, nanoseconds since the epoch.
        """
        last = max(self.last, newest)
        if self.count == UNKNOWN:
            return evolve(self, last=last)
        moment = time_text(self.since)
        counted = lines if oldest >= moment else [line for line in lines if line[:TIME_LENGTH] >= moment]
        if not counted:
            return evolve(self, last=last)
        first = self.first if self.count else zlib.crc32(counted[0])
        return evolve(self, count=self.count + len(counted), first=first, last=last)


@define(eq=False)
class RollingCursor:
    """A cursor that moves on with the log at a distance; *current* is the one to continue from."""

    current: ApiCursor
    _next: ApiCursor | None = field(default=None, init=False)
    #: The tag of the last line of each stream.
    _tags: dict[bytes, bytes] = field(factory=dict, init=False)

    def advance(self, lines: Sequence[bytes]) -> None:
        """Count lines that are written now, at least one."""
        oldest = min(lines)[:TIME_LENGTH]
        newest = nanoseconds(max(lines)[:TIME_LENGTH])
        self._tags |= {line[_STREAM]: line[_TAG] for line in lines}
        if oldest < time_text(self.current.since):
            # The clock was set back.  From here on the moment means nothing.
            self.current = ApiCursor(0, UNKNOWN, 0, newest)
            self._next = None
            return
        self.current = self.current.with_lines(lines, oldest, newest)
        if self._next is not None:
            self._next = self._next.with_lines(lines, oldest, newest)
        if b"P" in self._tags.values():
            return
        if self._next is not None and newest - self._next.since > MAX_DISORDER:
            self.current, self._next = self._next, None
        if self._next is None:
            self._next = ApiCursor(self.current.last + 1, last=self.current.last)


@define(eq=False)
class OverlapFilter:
    """Removes the written lines from a response that begins at *cursor*.

    :param written: the last written lines; none if they are in a file that kubelet renamed.
    """

    _cursor: ApiCursor
    _written: Sequence[bytes]
    #: How many lines are still to be skipped by their number.
    _remaining: int = field(init=False)
    _is_begun: bool = field(default=False, init=False)
    #: Not None while the last written line is searched for.
    _last_line: LastLine | None = field(default=None, init=False)
    #: Not 0 while a line is searched for that is newer than this.
    _newer_than: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._remaining = max(self._cursor.count, 0)
        if self._cursor.count == UNKNOWN:
            self._start_search()

    def new_lines(self, lines: list[bytes]) -> list[bytes]:
        """Return those of *lines*, the next lines of the response, that are not written yet."""
        if not lines:
            return lines
        if self._remaining:
            lines = self._skip_counted(lines)
        if self._last_line is None and not self._newer_than:
            return lines
        output = b"".join(lines)
        offset = self._last_line.find(output) if self._last_line is not None else None
        if offset is None:
            offset = self._find_newer(lines)
        if offset is None:
            return []
        self._last_line, self._newer_than = None, 0
        rest = output[offset:]
        return [line + b"\n" for line in rest.split(b"\n")[:-1]]

    def _skip_counted(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines after the counted ones; if the counted ones are others, start a search in all lines."""
        if not self._is_begun:
            self._is_begun = True
            if zlib.crc32(lines[0]) != self._cursor.first:
                self._start_search()
                return lines
        if len(lines) < self._remaining:
            self._remaining -= len(lines)
            return []
        last = self._remaining - 1
        if self._written and lines[last] != self._written[-1]:
            self._start_search()
            return lines[last:]
        self._remaining = 0
        return lines[last + 1 :]

    def _start_search(self) -> None:
        self._remaining = 0
        self._newer_than = self._cursor.last
        if self._written:
            self._last_line = LastLine(self._written)

    def _find_newer(self, lines: list[bytes]) -> int | None:
        """Return the offset of the first line that is newer than all written ones."""
        offset = 0
        for line in lines:
            if nanoseconds(line[:TIME_LENGTH]) > self._newer_than:
                return offset
            offset += len(line)
        return None
