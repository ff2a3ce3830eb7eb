"""The picture of the dashboard has its panels, and in them what Prometheus answers."""

from __future__ import annotations

from typing import Any

import pytest

from tools.dashboard import dashboard
from tools.draw_dashboard import Source, _number, _round, picture


class Answers(Source):
    """A Prometheus that has the same two series for every query: one that rises, with a gap, and one that is NaN."""

    def ask(self, path: str, **parameters: object) -> list[Any]:
        """Return the series."""
        labels = {"namespace": "shop", "pod": "<cart>", "version": "1.2.3"}
        if path == "query":
            return [{"metric": labels, "value": [self.end, "1"]}]
        rising = [[self.end - 60 + second, str(second)] for second in range(61) if second != 30]
        return [{"metric": labels, "values": rising}, {"metric": {}, "values": [[self.end, "NaN"]]}]


def test_picture() -> None:
    """Each panel of the chosen rows is drawn, with lines that have gaps, names, states and a table."""
    page, width, height = picture(dashboard(), Answers("", 1e9, 1, steps=60), 2)
    titles = {panel["title"] for panel in dashboard()["panels"] if panel["gridPos"]["y"] < 30}
    assert {"Docker", "Versions", "Memory", "Throttling"} <= titles
    assert all(f">{title}<" in page for title in titles)
    assert "Reactor latency" not in page
    assert (width, height) == (1204, 30 * 27 + 4)
    assert "connected" in page
    assert "<td>1.2.3" in page
    assert "shop/&lt;cart&gt;" in page
    assert "NaN" not in page
    assert "nan" not in page
    line = page.partition('fill="none"')[0].rpartition("<path")[2]
    assert line.count("M") == 2


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0021, "s", "2.1 ms"),
        (30, "s", "30 s"),
        (0, "bytes", "0 B"),
        (3 << 20, "bytes", "3 MiB"),
        (-2500, "Bps", "-2.5 kB/s"),
        (0.25, "percentunit", "25 %"),
        (1.5, "ops", "1.5/s"),
        (4, "none", "4"),
    ],
)
def test_numbers(value: float, unit: str, text: str) -> None:
    """Values have their unit in a size that reads well."""
    assert _number(value, unit) == text


def test_scales() -> None:
    """A scale ends with a number whose quarters are short, and not below the value."""
    assert [_round(value, 10) for value in (1, 1.1, 9.9, 0.017)] == pytest.approx([1, 1.2, 10, 0.02])
    assert _round(35 << 20, 1024) == 40 << 20
