"""Where a CRI file left off, when nothing is known but the file: no record, a damaged one, or lines it does not fit.

The file's last line is looked up in the container's log: its time has nanoseconds, so it is the only one of its kind,
but for pieces of one long line, which share their time and may be equal; then the last of as many as the file has.
If the engine does not have the line any more, all that is newer than it is missing from the file.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from criwist.wire.crilog import MalformedLine, nanoseconds, parse


@define(eq=False)
class LastLine:
    """The last line of a file that ends with *lines*, which are whole and at least one."""

    _lines: Sequence[bytes]
    _line: bytes = field(init=False)
    #: How many of its kind are yet to be seen.
    _left: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._line = self._lines[-1]
        self._left = sum(line == self._line for line in self._lines)
        self._lines = ()

    def find(self, output: bytes) -> int | None:
        """Where in *output*, the next lines of the log, the line ends; None if it is not in them."""
        start = 0
        while (start := output.find(self._line, start)) >= 0:
            end = start + len(self._line)
            if start == 0 or output[start - 1] == ord("\n"):
                self._left -= 1
                if not self._left:
                    return end
                start = end
            else:
                start += 1
        return None

    def find_newer(self, output: bytes) -> int | None:
        """Where in *output* the first line begins that is newer than this one; None if there is none."""
        try:
            moment = nanoseconds(parse(self._line).time)
        except MalformedLine:
            # Nobody's line; then all of the log is missing.
            return 0
        position = 0
        for line in output.split(b"\n")[:-1]:
            if nanoseconds(line.partition(b" ")[0]) > moment:
                return position
            position += len(line) + 1
        return None
