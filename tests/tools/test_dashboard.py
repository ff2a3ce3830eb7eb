"""Dashboard and alert rules name what criwist serves, and the dashboard leaves nothing out without a reason."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.promql import metric_names
from tools.dashboard import FILE, LEFT_OUT, dashboard, text

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/observability.md").read_text("utf-8")
#: Names that Prometheus itself makes.
_PROMETHEUS_OWN = {"up", "ALERTS"}
_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}


def documented() -> dict[str, str]:
    """Return the type of each metric of docs/observability.md, which the functional tests compare with a scrape."""
    own = re.findall(r"^\| `(criwist_\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    return dict(own) | dict.fromkeys(_PROCESS, "gauge")


def container_series() -> set[str]:
    """Return the names of pods' and containers' series in the same page."""
    rows = re.findall(r"^\| (`container_[^|]+) \|", PAGE, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(container_\w+)`", row)}


def served() -> dict[str, str]:
    """Return the metric of each name of a series; a histogram has three."""
    names: dict[str, str] = {}
    for metric, kind in documented().items():
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        names |= {metric + suffix: metric for suffix in suffixes}
    return names


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, without the titles of rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def shown() -> set[str]:
    """Return the names of series in the dashboard's panels."""
    return {name for panel in panels() for target in panel["targets"] for name in metric_names(target["expr"])}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('rate(a_total{b="c}",d!~"e(f)"}[5m]) > 50e6', {"a_total"}),
        ("sum by (x, y) (a) / on (z) group_left (v) b offset 5m", {"a", "b"}),
        ("histogram_quantile(0.9, sum by (le) (rate(a_bucket{NODE}[$__rate_interval]))) or vector(0)", {"a_bucket"}),
    ],
)
def test_metric_names(expression: str, names: set[str]) -> None:
    """Functions, labels, strings and keywords are no metrics."""
    assert metric_names(expression) == names


def test_file() -> None:
    """The file is what ``python -m tools.dashboard`` writes."""
    assert FILE.read_text("utf-8") == text()


def test_names_in_the_dashboard() -> None:
    """Each panel shows metrics that criwist serves."""
    assert shown() - _PROMETHEUS_OWN - served().keys() - container_series() == set()


def test_names_in_the_rules() -> None:
    """Each alert rule uses metrics that criwist serves."""
    rules = yaml.safe_load((ROOT / "etc/prometheus/criwist.rules.yml").read_text("utf-8"))
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(expressions) >= 10
    names = {name for expression in expressions for name in metric_names(expression)}
    assert names - _PROMETHEUS_OWN - served().keys() - container_series() == set()


def test_nothing_is_left_out() -> None:
    """Each metric of criwist is in a panel, or is left out with a reason; not both."""
    in_panels = {served()[name] for name in shown() if name in served()}
    assert documented().keys() - in_panels == LEFT_OUT.keys()
    assert all(reason for reason in LEFT_OUT.values())


def test_grid() -> None:
    """Panels lie within Grafana's 24 columns and not on each other, and fill the width of their row."""
    cells: Counter[tuple[int, int]] = Counter()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells.update(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
    height = max(y for _, y in cells) + 1
    assert cells == Counter(itertools.product(range(24), range(height)))


def test_panels() -> None:
    """Each panel has an id of its own, a description, a unit, the chosen data source, and no placeholder is left."""
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    variables = {"$" + variable["name"] for variable in dashboard()["templating"]["list"]} | {"$__rate_interval"}
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert not re.search(r"\b(NODE|PODS)\b", target["expr"])
            assert set(re.findall(r"\$\w+", target["expr"])) <= variables
            assert 'instance=~"$instance"' in target["expr"]
