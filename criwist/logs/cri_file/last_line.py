"""Where to continue a CRI file when there is no usable record: after its last line in the container's log.

A line's time has nanoseconds, so a line is unique, except for pieces of one long line, which share their time and may
be equal.  In that case the match is the last of as many pieces as the file has.  If the engine does not have the line
any more, every line that is newer is missing from the file.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from criwist.wire.crilog import MalformedLine, nanoseconds, parse


@define(eq=False)
class LastLine:
    """The last line of a file that ends with *lines*, which are whole and at least one.

    The methods take the container's log part by part, and expect the parts in order.
    """

    _lines: Sequence[bytes]
    _line: bytes = field(init=False)
    #: How many equal lines are still to be passed.
    _remaining: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._line = self._lines[-1]
        self._remaining = sum(line == self._line for line in self._lines)
        self._lines = ()

    def find(self, output: bytes) -> int | None:
        """Return the offset in *output*, the next lines of the log, at which the line ends; None if it is not there."""
        start = 0
        while (start := output.find(self._line, start)) >= 0:
            end = start + len(self._line)
            if start == 0 or output[start - 1] == ord("\n"):
                self._remaining -= 1
                if not self._remaining:
                    return end
                start = end
            else:
                start += 1
        return None

    def find_newer(self, output: bytes) -> int | None:
        """Return the offset in *output* of the first line that is newer than this one; None if there is none."""
        try:
            moment = nanoseconds(parse(self._line).time)
        except MalformedLine:
            # Another program wrote the line: all of the container's log is missing.
            return 0
        offset = 0
        for line in output.split(b"\n")[:-1]:
            if nanoseconds(line.partition(b" ")[0]) > moment:
                return offset
            offset += len(line) + 1
        return None
