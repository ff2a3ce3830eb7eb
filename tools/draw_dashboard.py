"""Draw the dashboard from the answers of a Prometheus: a picture for the documentation, without a Grafana.

python -m tools.draw_dashboard http://127.0.0.1:9090 docs/images/dashboard.png [minutes] [rows]

It runs each panel's queries over the last minutes and draws what they return, with chromium and pngquant of Debian.
Grafana draws the same queries in its own way.
"""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from tools.dashboard import FILE

#: Pixels of a column and of a line of Grafana's grid, and of the space between panels.
_COLUMN, _LINE, _SPACE = 50, 27, 4
#: Pixels beside a plot for its scale, and below it for the times.
_SCALE, _TIMES = 62, 14
_COLORS: Final = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#e15759",
    "#9467bd",
    "#76b7b2",
    "#b5891b",
    "#d37295",
    "#86644b",
    "#777",
)
_STYLE: Final = """
body { margin: 0; font: 11px "DejaVu Sans", sans-serif; color: #222; background: #f2f3f5; position: relative }
div { box-sizing: border-box; position: absolute; overflow: hidden }
.row { font-weight: bold; font-size: 13px; padding: 6px 8px }
.panel { background: #fff; border: 1px solid #d8dade; border-radius: 3px }
.title { left: 8px; top: 5px; right: 8px; font-weight: bold; white-space: nowrap }
.stat { left: 0; right: 0; top: 40%; text-align: center; font-size: 26px; color: #2c7a3f }
.bad { color: #c4342d }
.legend { left: 8px; right: 8px; bottom: 4px; height: 28px; font-size: 9px; line-height: 14px }
.legend span { display: inline-block; margin-right: 9px; white-space: nowrap }
table { position: absolute; left: 8px; top: 26px; border-spacing: 10px 4px; text-align: left }
text { font-size: 9px; fill: #555 }
"""


@frozen
class Series:
    """One line: its name, and values by the number of the step."""

    name: str
    values: Mapping[int, float]


@frozen
class Source:
    """A Prometheus, and the time that is drawn."""

    url: str
    end: float
    minutes: float
    steps: int = 180

    def ask(self, path: str, **parameters: object) -> list[Any]:
        """Return the series of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as response:
            return list(json.load(response)["data"]["result"])

    def series(self, target: Mapping[str, Any]) -> Iterator[Series]:
        """Yield the lines of a target, named by its legend."""
        start, step = self.end - 60 * self.minutes, 60 * self.minutes / self.steps
        for one in self.ask("query_range", query=_expression(target), start=start, end=self.end, step=step):
            labels: dict[str, str] = defaultdict(str, one["metric"])
            name = target["legendFormat"].replace("{{", "{").replace("}}", "}").format_map(labels)
            values = {round((at - start) / step): float(value) for at, value in one["values"]}
            finite = {at: value for at, value in values.items() if math.isfinite(value)}
            if finite:
                yield Series(name, finite)


def _expression(target: Mapping[str, Any]) -> str:
    """Return a target's expression for everything; the rate's window is half a minute."""
    expression: str = target["expr"].replace("$__rate_interval", "30s")
    return re.sub(r"\$(instance|namespace|pod)\b", ".*", expression)


def picture(dashboard: Mapping[str, Any], source: Source, rows: int) -> tuple[str, int, int]:
    """Return the page with the first *rows* rows, and its width and height."""
    parts, seen, bottom = [], 0, 0
    for panel in dashboard["panels"]:
        seen += panel["type"] == "row"
        if seen > rows:
            break
        place = panel["gridPos"]
        bottom = max(bottom, place["y"] + place["h"])
        width, height = place["w"] * _COLUMN - _SPACE, place["h"] * _LINE - _SPACE
        where = f"left:{place['x'] * _COLUMN + _SPACE}px;top:{place['y'] * _LINE}px;width:{width}px;height:{height}px"
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{where}">{html.escape(panel["title"])}</div>')
            continue
        title = f'<div class="title">{html.escape(panel["title"])}</div>'
        parts.append(
            f'<div class="panel" style="{where}">{title}{_CONTENT[panel["type"]](panel, source, width, height)}</div>'
        )
    page = f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style><body>{''.join(parts)}"
    return page, 24 * _COLUMN + _SPACE, bottom * _LINE + _SPACE


def _stat(panel: Mapping[str, Any], source: Source, width: int, height: int) -> str:
    found = source.ask("query", query=_expression(panel["targets"][0]), time=source.end)
    value = float(found[0]["value"][1]) if found else math.nan
    for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
        if state := mapping["options"].get(f"{value:g}"):
            return f'<div class="stat">{state["text"]}</div>'
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    bad = any(step["color"] == "red" and value >= step["value"] for step in steps)
    return f'<div class="stat{" bad" if bad else ""}">{value:.0f}</div>'


def _table(panel: Mapping[str, Any], source: Source, width: int, height: int) -> str:
    names: Mapping[str, str] = panel["transformations"][0]["options"]["renameByName"]
    lines = ["".join(f"<th>{title}" for title in names.values())]
    for one in source.ask("query", query=_expression(panel["targets"][0]), time=source.end):
        lines.append("".join(f"<td>{html.escape(one['metric'].get(name, ''))}" for name in names))
    return f"<table><tr>{'<tr>'.join(lines)}</table>"


def _plot(panel: Mapping[str, Any], source: Source, width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    below = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    lines: list[Series] = []
    for target in panel["targets"]:
        sign = -1 if target["refId"] in below else 1
        lines += (Series(one.name, {at: sign * v for at, v in one.values.items()}) for one in source.series(target))
    if defaults["custom"]["stacking"]["mode"] == "normal":
        lines = list(_stacked(lines))
    values = [value for line in lines for value in line.values.values()]
    base = 1024 if defaults["unit"] == "bytes" else 10
    low, top = min([0.0, *values]), _round(max([0.0, *values]) or 1.0, base)
    low = -_round(-low, base) if low else 0.0
    plot_width, plot_height = width - _SCALE - 10, height - 26 - 34 - _TIMES

    def x(step: float) -> float:
        return _SCALE + plot_width * step / source.steps

    def y(value: float) -> float:
        return 26 + plot_height * (1 - (value - low) / (top - low))

    marks = [low + (top - low) * part / 4 for part in range(5)]
    svg = [
        f'<path d="M{_SCALE} {y(mark):.1f}h{plot_width}" stroke="#e4e6ea"/>'
        f'<text x="{_SCALE - 4}" y="{y(mark) + 3:.1f}" text-anchor="end">{_number(mark, defaults["unit"])}</text>'
        for mark in marks
    ]
    for part in range(5) if width > 400 else (0, 2, 4):
        at = time.strftime("%H:%M:%S", time.gmtime(source.end - 60 * source.minutes * (1 - part / 4)))
        anchor = ("start", "middle", "middle", "middle", "end")[part]
        svg.append(
            f'<text x="{x(source.steps * part / 4):.0f}" y="{26 + plot_height + 12}" text-anchor="{anchor}">{at}</text>'
        )
    for color, line in zip(_colors(len(lines)), lines, strict=True):
        svg.append(f'<path d="{_path(line.values, x, y)}" fill="none" stroke="{color}" stroke-width="1.3"/>')
    legend = "".join(
        f'<span><b style="color:{color}">━</b> {html.escape(line.name)}</span>'
        for color, line in zip(_colors(len(lines)), lines, strict=True)
    )
    return f'<svg width="{width}" height="{height}">{"".join(svg)}</svg><div class="legend">{legend}</div>'


_CONTENT: Final = {"stat": _stat, "table": _table, "timeseries": _plot}


def _stacked(lines: Sequence[Series]) -> Iterator[Series]:
    """Yield each line on top of those before it."""
    below: dict[int, float] = {}
    for line in lines:
        below |= {at: below.get(at, 0) + value for at, value in line.values.items()}
        yield Series(line.name, {at: below[at] for at in line.values})


def _path(values: Mapping[int, float], x: Any, y: Any) -> str:
    """Return the line through the values, with gaps where steps have none."""
    return "".join(
        f"{'L' if at - 1 in values else 'M'}{x(at):.1f} {y(value):.1f}{'' if at + 1 in values else 'h1'}"
        for at, value in sorted(values.items())
    )


def _colors(number: int) -> list[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(number)]


def _round(value: float, base: int) -> float:
    """Return the next number that a scale of four parts ends with; *base* is 10, or 1024 for bytes."""
    unit = float(base) ** math.floor(math.log(value, base))
    unit *= 10.0 ** math.floor(math.log10(value / unit))
    return next(step * unit for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * unit >= value * 0.9999)


def _number(value: float, unit: str) -> str:
    """Return a value in Grafana's *unit* as a reader expects it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s" and abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    scales = {"bytes": (1024, ("B", "KiB", "MiB", "GiB")), "Bps": (1000, ("B/s", "kB/s", "MB/s", "GB/s"))}
    if unit in scales:
        base, names = scales[unit]
        power = min(len(names) - 1, int(math.log(abs(value), base))) if abs(value) >= 1 else 0
        return f"{value / base**power:.4g} {names[power]}"
    return f"{value:.3g}{ {'s': ' s', 'ops': '/s'}.get(unit, '') }"


def main() -> None:
    """Draw."""
    url, output, *numbers = sys.argv[1:]
    minutes, rows = [*map(float, numbers), *(10.0, 99.0)[len(numbers) :]]
    page, width, height = picture(json.loads(FILE.read_text("utf-8")), Source(url, time.time(), minutes), int(rows))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "dashboard.html"
        path.write_text(page, "utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={directory}/profile", f"--window-size={width},{height}"]
        subprocess.run([*command, f"--screenshot={directory}/dashboard.png", path.as_uri()], check=True)
        colors = ["pngquant", "--force", "--output", output, "--strip", "64", f"{directory}/dashboard.png"]
        subprocess.run(colors, check=True)


if __name__ == "__main__":
    main()
