"""Where to go on in what the engine's log API sends, without losing or doubling a line.

The API knows no positions, only ``since``: all lines whose time is not before a moment, in the order in which they were
kept.  Times need not be in order.  The lines that we have are the first so and so many of all; leaving out those before
a moment from both, what we have is still the first so many of what is sent.  So it is enough to count the lines that we
have whose time is not before the moment, to ask for all since then, and to pass over that many.

The moment must be so old that no line before it can be yet to come: a few seconds, and not within a line whose first
pieces we have, as all pieces have the time of the first.  Hence two anchors: one that is used, and a newer one that
takes its place when it has become old enough.

That the engine sends what it sent before is not taken on trust.  It may have removed its oldest file; and engines
before 23 leave lines out of a log that they follow while its file is changed.  The first line that is passed over and
the last one have to be the ones that we have, or else our last line is looked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from criwist.logs.cri_file.resuming import LastLine
from criwist.wire.crilog import TIME_LENGTH, nanoseconds, time_text

#: Nanoseconds by which a line may be older than one that the engine kept before it: the engine's copiers of stdout and
#: stderr run side by side, and clocks are set.
DISORDER: Final = 5 * 10**9
#: Where a line that we made has its stream and its tag.
_STREAM: Final = slice(TIME_LENGTH + 1, TIME_LENGTH + 7)
_TAG: Final = slice(TIME_LENGTH + 8, TIME_LENGTH + 9)
#: How many lines there are behind the anchor is not known.
UNKNOWN: Final = -1


@frozen
class ApiCursor:
    """A moment, and what we have from then on."""

    #: Nanoseconds since the epoch; 0: the beginning.
    since: int = 0
    #: Lines that we have whose time is not before that, or :data:`UNKNOWN`.
    count: int = 0
    #: CRC-32 of the first of them.
    first: int = 0
    #: The time of the newest line that we have.
    last: int = 0

    @property
    def parameter(self) -> str:
        """As the API's parameter ``since`` wants it."""
        seconds, fraction = divmod(self.since, 10**9)
        return f"{seconds}.{fraction:09d}"

    def with_lines(self, lines: Sequence[bytes], oldest: bytes, newest: int) -> ApiCursor:
        """Having these lines, which are at least one, too.  The times are those of the oldest and newest of them."""
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
class ApiCursors:
    """The two anchors; *current* is the one to go on from."""

    current: ApiCursor
    _next: ApiCursor | None = field(default=None, init=False)
    #: The tag of the last line of each stream.
    _tags: dict[bytes, bytes] = field(factory=dict, init=False)

    def have(self, lines: Sequence[bytes]) -> None:
        """Take note of lines that we have now, at least one."""
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
        if self._next is not None and newest - self._next.since > DISORDER:
            self.current, self._next = self._next, None
        if self._next is None:
            self._next = ApiCursor(self.current.last + 1, last=self.current.last)


@define(eq=False)
class Overlap:
    """What is sent from an anchor on, without the lines that we have.

    :param known: the last lines that we have, none if they are in a file that was renamed.
    """

    _anchor: ApiCursor
    _known: Sequence[bytes]
    _left: int = field(init=False)
    _begun: bool = field(default=False, init=False)
    #: Not None while the last line that we have is looked for.
    _finding: LastLine | None = field(default=None, init=False)
    #: Not 0 while a line is looked for that is newer than this.
    _newer_than: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = max(self._anchor.count, 0)
        if self._anchor.count == UNKNOWN:
            self._find()

    def without(self, lines: list[bytes]) -> list[bytes]:
        """Those of the next *lines* that we do not have."""
        if not lines:
            return lines
        if self._left:
            lines = self._uncounted(lines)
        if self._finding is None and not self._newer_than:
            return lines
        output = b"".join(lines)
        place = self._finding.find(output) if self._finding is not None else None
        if place is None:
            place = self._newer(lines)
        if place is None:
            return []
        self._finding, self._newer_than = None, 0
        rest = output[place:]
        return [line + b"\n" for line in rest.split(b"\n")[:-1]]

    def _uncounted(self, lines: list[bytes]) -> list[bytes]:
        """The lines behind those that are counted; all, and look for the last line, if these are others."""
        if not self._begun:
            self._begun = True
            if zlib.crc32(lines[0]) != self._anchor.first:
                self._find()
                return lines
        if len(lines) < self._left:
            self._left -= len(lines)
            return []
        last = self._left - 1
        if self._known and lines[last] != self._known[-1]:
            self._find()
            return lines[last:]
        self._left = 0
        return lines[last + 1 :]

    def _find(self) -> None:
        self._left = 0
        self._newer_than = self._anchor.last
        if self._known:
            self._finding = LastLine(self._known)

    def _newer(self, lines: list[bytes]) -> int | None:
        """Where the first line begins that is newer than all that we have."""
        position = 0
        for line in lines:
            if nanoseconds(line[:TIME_LENGTH]) > self._newer_than:
                return position
            position += len(line)
        return None
