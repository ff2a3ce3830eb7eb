"""Results as a table of text, which is a table of reStructuredText too."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field


@define
class Table:
    """A title, names of columns, and rows of text; the caller formats numbers."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def __str__(self) -> str:
        widths = [max(len(row[index]) for row in (self.columns, *self.rows)) for index in range(len(self.columns))]
        rule = "  ".join("=" * width for width in widths)
        lines = [self.title, "", rule, _line(self.columns, widths), rule]
        lines += [_line(row, widths) for row in self.rows]
        return "\n".join([*lines, rule, ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def microseconds(seconds: float) -> str:
    """Return seconds as text in µs."""
    return f"{seconds * 1e6:,.0f} µs"


def milliseconds(seconds: float) -> str:
    """Return seconds as text in ms."""
    return f"{seconds * 1e3:,.1f} ms"


def seconds(number: float) -> str:
    """Return seconds as text."""
    return f"{number:,.2f} s"


def mebibytes(size: float) -> str:
    """Return bytes as text in MiB."""
    return f"{size / (1 << 20):,.1f} MiB"
