"""Small plots: a row of figures as a string of levels, and the strings as drawings.

A level is a digit of base 32, and a gap a space: 60 points are 60 bytes, and the plot of a pod that does nothing does
not change from one update to the next.  ``page.js`` draws the same paths of the same strings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

#: Levels of a plot, 0 to 31.
HIGHEST: Final = 31
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_BARS: Final = "▁▂▃▄▅▆▇█"
#: Bars of a plot in text.
_MAX_BARS: Final = 12


def levels(values: Iterable[float], top: float) -> str:
    """Return the levels of *values*, oldest first; NaN is a gap.

    :param top: the value of the highest level.
    """
    return "".join(
        " " if math.isnan(value) else _DIGITS[max(0, min(HIGHEST, round(value / top * HIGHEST)))] for value in values
    )


def path(drawn: str, height: int) -> tuple[str, str]:
    """Return the line and the area under it as paths of SVG, in a box as wide as the levels are many, less one."""
    line, area = [], []
    for start, run in _runs(drawn):
        points = [f"{start + index} {height - 1 - level}" for index, level in enumerate(run)]
        if len(points) == 1:  # a line of no length is not drawn
            points.append(f"{start + 0.5:g} {height - 1 - run[0]}")
        end = points[-1].partition(" ")[0]
        line.append(f"M{'L'.join(points)}")
        area.append(f"M{start} {height}L{'L'.join(points)}L{end} {height}Z")
    return "".join(line), "".join(area)


def bars(drawn: str) -> str:
    """Return the last levels as characters, each the highest of some points; ``""`` without a level."""
    width = math.ceil(len(drawn) / _MAX_BARS) or 1
    groups = [drawn[max(0, end - width) : end] for end in range(len(drawn), 0, -width)][::-1]
    text = "".join(
        _BARS[max(int(one, 32) for one in group if one != " ") * len(_BARS) // (HIGHEST + 1)] if group.strip() else " "
        for group in groups
    )
    return text.strip()


def _runs(drawn: str) -> list[tuple[int, Sequence[int]]]:
    """Return the start and the levels of each part without a gap."""
    found: list[tuple[int, list[int]]] = []
    before = " "
    for index, digit in enumerate(drawn):
        if digit != " ":
            if before == " ":
                found.append((index, []))
            found[-1][1].append(int(digit, 32))
        before = digit
    return [(start, run) for start, run in found]
