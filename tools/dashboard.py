"""Write etc/grafana/criwist.json, a dashboard for Grafana 10 and later, from the rows below.

python -m tools.dashboard            write the file
python -m tools.dashboard --check    exit with status 1 if it is out of date

In expressions, NODE selects the chosen instances of criwist, and PODS the chosen pods on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

FILE: Final = Path(__file__).resolve().parent.parent / "etc/grafana/criwist.json"

#: Served metrics of criwist or of its process that are not in the dashboard, with the reason.
LEFT_OUT: Final = {
    "process_virtual_memory_bytes": "address space that is reserved and not used tells an operator nothing",
}

_NODE: Final = 'instance=~"$instance"'
_PODS: Final = 'instance=~"$instance",namespace=~"$namespace",pod=~"$pod"'
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
#: Grafana's grid has so many columns.
_COLUMNS: Final = 24


@frozen
class Query:
    """One expression, and how its series are named."""

    expression: str
    legend: str = ""
    #: Show the traces of slow calls as points.
    exemplars: bool = False
    #: Draw below the axis, as the opposite direction of another query.
    below: bool = False

    @property
    def full_expression(self) -> str:
        """The expression with the selectors written out."""
        return self.expression.replace("NODE", _NODE).replace("PODS", _PODS)


@frozen
class Panel:
    """One panel.

    :param unit: Grafana's name: ``s``, ``bytes``, ``Bps``, ``ops``, ``short``.
    :param states: texts and colors in place of the values of a ``stat``.
    """

    title: str
    unit: str
    description: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    axis: str = ""
    #: A ``stat`` is red from this value on.
    bad_from: int | None = None
    #: Shown while there are no series, because nothing of the kind has happened.
    empty: str = ""
    states: Sequence[tuple[int, str, str]] = ()


def _stat(
    title: str, description: str, expression: str, *states: tuple[int, str, str], bad_from: int | None = None
) -> Panel:
    queries = [Query(expression, title)]
    return Panel(title, "none", description, queries, "stat", width=4, height=4, states=states, bad_from=bad_from)


def _quantiles(metric: str, *levels: float, by: str = "", legend: str = "", exemplars: bool = False) -> list[Query]:
    """Return queries of quantiles of a histogram, ``{PODS}`` and the like included in *metric*'s braces."""
    name, _, selector = metric.partition("{")
    rate = f"rate({name}_bucket{{{selector or 'NODE}'}[$__rate_interval])"
    labels = f"le, {by}" if by else "le"
    return [
        Query(
            f"histogram_quantile({level}, sum by ({labels}) ({rate}))",
            legend or f"{100 * level:g} %",
            exemplars=exemplars,
        )
        for level in levels
    ]


#: RPCs that change something; the others read.
_CHANGES: Final = (
    "RunPodSandbox|StopPodSandbox|RemovePodSandbox|CreateContainer|StartContainer|StopContainer|RemoveContainer"
    "|UpdateContainerResources|UpdatePodSandboxResources|PullImage|RemoveImage|ExecSync|ReopenContainerLog|CheckpointContainer"
)

ROWS: Final[Sequence[tuple[str, Sequence[Panel]]]] = [
    (
        "Node",
        [
            _stat(
                "Docker",
                "Whether criwist follows Docker's events; of several nodes the worst.",
                "min(criwist_docker_connected{NODE})",
                (0, "away", "red"),
                (1, "connected", "green"),
            ),
            _stat("Pods", "Sandboxes that are ready.", 'sum(criwist_sandboxes{NODE,state="ready"})'),
            _stat("Containers", "Containers that run.", 'sum(criwist_containers{NODE,state="running"})'),
            _stat(
                "Alerts",
                "Alerts of etc/prometheus/criwist.rules.yml that fire.",
                'count(ALERTS{alertname=~"Criwist.*",alertstate="firing",NODE}) or vector(0)',
                bad_from=1,
            ),
            _stat(
                "OOM kills, 1 h",
                "Processes of containers that the kernel killed for want of memory.",
                "sum(increase(criwist_container_oom_kills_total{NODE}[1h])) or vector(0)",
                bad_from=1,
            ),
            _stat(
                "Restarts, 1 d",
                "Starts of criwist. Pods outlive them.",
                "sum(changes(process_start_time_seconds{NODE}[1d]))",
            ),
            Panel(
                "Versions",
                "none",
                "criwist and Docker on each node.",
                [Query("criwist_build_info{NODE}")],
                "table",
            ),
            Panel(
                "Sandboxes and containers",
                "none",
                "By state. Exited containers stay until kubelet removes them.",
                [
                    Query("sum by (state) (criwist_sandboxes{NODE})", "sandboxes {{state}}"),
                    Query("sum by (state) (criwist_containers{NODE})", "containers {{state}}"),
                ],
            ),
            Panel(
                "Alerts over time",
                "none",
                "Alerts of etc/prometheus/criwist.rules.yml, pending and firing.",
                [
                    Query(
                        'sum by (alertname, alertstate) (ALERTS{alertname=~"Criwist.*",NODE})',
                        "{{alertname}} {{alertstate}}",
                    )
                ],
                empty="none",
            ),
        ],
    ),
    (
        "Pods",
        [
            Panel(
                "CPU",
                "none",
                "Cores that containers use.",
                [
                    Query(
                        "sum by (namespace, pod, container) "
                        '(rate(container_cpu_usage_seconds_total{PODS,container!=""}[$__rate_interval]))',
                        "{{namespace}}/{{pod}} {{container}}",
                    )
                ],
                axis="cores",
            ),
            Panel(
                "Memory",
                "bytes",
                "Working set of containers: what kubelet compares with limits and thresholds.",
                [
                    Query(
                        'sum by (namespace, pod, container) (container_memory_working_set_bytes{PODS,container!=""})',
                        "{{namespace}}/{{pod}} {{container}}",
                    )
                ],
            ),
            Panel(
                "Network",
                "Bps",
                "Traffic of pods with a network of their own; sent bytes are below the axis.",
                [
                    Query(
                        "sum by (namespace, pod) "
                        '(rate(container_network_receive_bytes_total{PODS,pod!=""}[$__rate_interval]))',
                        "{{namespace}}/{{pod}} received",
                    ),
                    Query(
                        "sum by (namespace, pod) "
                        '(rate(container_network_transmit_bytes_total{PODS,pod!=""}[$__rate_interval]))',
                        "{{namespace}}/{{pod}} sent",
                        below=True,
                    ),
                ],
            ),
            Panel(
                "Writable layers",
                "bytes",
                "What containers have written outside of volumes; measured each --writable-layer-interval.",
                [
                    Query(
                        'sum by (namespace, pod, container) (container_fs_usage_bytes{PODS,container!=""})',
                        "{{namespace}}/{{pod}} {{container}}",
                    )
                ],
            ),
            Panel(
                "Throttling",
                "percentunit",
                "Periods in which a container used up its CPU quota. Containers without a quota have none.",
                [
                    Query(
                        "sum by (namespace, pod, container) "
                        '(rate(container_cpu_cfs_throttled_periods_total{PODS,container!=""}[$__rate_interval])) / '
                        "sum by (namespace, pod, container) "
                        '(rate(container_cpu_cfs_periods_total{PODS,container!=""}[$__rate_interval]))',
                        "{{namespace}}/{{pod}} {{container}}",
                    )
                ],
                empty="none",
            ),
            Panel(
                "OOM kills",
                "none",
                "Processes of containers that the kernel killed for want of memory.",
                [
                    Query(
                        "sum by (namespace, pod, container) "
                        "(increase(criwist_container_oom_kills_total{PODS}[$__rate_interval]))",
                        "{{namespace}}/{{pod}} {{container}}",
                    )
                ],
                empty="none",
            ),
        ],
    ),
    (
        "CRI",
        [
            Panel(
                "Calls",
                "ops",
                "RPCs of kubelet and other clients, by method.",
                [Query("sum by (method) (rate(criwist_cri_calls_total{NODE}[$__rate_interval]))", "{{method}}")],
                stacked=True,
                width=12,
            ),
            Panel(
                "Failed calls",
                "ops",
                "RPCs by method and gRPC's status. CANCELLED: the client went away or did not wait any longer.",
                [
                    Query(
                        'sum by (method, code) (rate(criwist_cri_calls_total{NODE,code!="OK"}[$__rate_interval]))',
                        "{{method}} {{code}}",
                    )
                ],
                width=12,
                empty="none",
            ),
            Panel(
                "Duration of reads",
                "s",
                "Lists, statuses and stats, which are answered from memory. kubelet's PLEG waits for them.",
                _quantiles(f'criwist_cri_call_seconds{{NODE,method!~"{_CHANGES}"}}', 0.5, 0.9, 0.99, exemplars=True),
                width=12,
            ),
            Panel(
                "Duration of changes",
                "s",
                "95 of 100 RPCs take less. StopContainer has the pod's grace period in it.",
                _quantiles(
                    f'criwist_cri_call_seconds{{NODE,method=~"{_CHANGES}"}}',
                    0.95,
                    by="method",
                    legend="{{method}}",
                    exemplars=True,
                ),
                width=12,
            ),
        ],
    ),
    (
        "Docker",
        [
            Panel(
                "Requests",
                "ops",
                "Requests to Docker by method and path.",
                [Query("sum by (call) (rate(criwist_docker_calls_total{NODE}[$__rate_interval]))", "{{call}}")],
                stacked=True,
            ),
            Panel(
                "Failed requests",
                "ops",
                "By path and error. NotFound and Conflict are normal where containers come and go.",
                [
                    Query(
                        'sum by (call, code) (rate(criwist_docker_calls_total{NODE,code!="OK"}[$__rate_interval]))',
                        "{{call}} {{code}}",
                    )
                ],
                empty="none",
            ),
            Panel(
                "Duration of requests",
                "s",
                "95 of 100 requests take less; streams to their beginning.",
                _quantiles("criwist_docker_call_seconds", 0.95, by="call", legend="{{call}}"),
            ),
            Panel(
                "Event lag",
                "s",
                "From Docker's time of an event to its reading.",
                _quantiles("criwist_docker_event_lag_seconds", 0.5, 0.99),
                width=12,
            ),
            Panel(
                "Connection",
                "none",
                "1 while criwist follows Docker's events; breaks and failed attempts to connect.",
                [
                    Query("criwist_docker_connected{NODE}", "{{instance}} connected"),
                    Query(
                        "increase(criwist_docker_disconnects_total{NODE}[$__rate_interval])", "{{instance}} disconnects"
                    ),
                ],
                width=12,
            ),
        ],
    ),
    (
        "CNI",
        [
            Panel(
                "Calls",
                "ops",
                "Calls of plugins.",
                [
                    Query(
                        "sum by (plugin, command) (rate(criwist_cni_calls_total{NODE}[$__rate_interval]))",
                        "{{plugin}} {{command}}",
                    )
                ],
                stacked=True,
            ),
            Panel(
                "Failed calls",
                "ops",
                "Pods do not start, or addresses are not released. criwist's log has the plugin's message.",
                [
                    Query(
                        "sum by (plugin, command, code) "
                        '(rate(criwist_cni_calls_total{NODE,code!="OK"}[$__rate_interval]))',
                        "{{plugin}} {{command}} {{code}}",
                    )
                ],
                empty="none",
            ),
            Panel(
                "Duration of calls",
                "s",
                "95 of 100 calls take less.",
                _quantiles("criwist_cni_call_seconds", 0.95, by="plugin, command", legend="{{plugin}} {{command}}"),
            ),
        ],
    ),
    (
        "Images",
        [
            Panel(
                "Pulls under way",
                "bytes",
                "What each pull has downloaded, and the size of its layers that Docker has begun.",
                [
                    Query("sum by (image) (criwist_image_pull_downloaded_bytes{NODE})", "{{image}}"),
                    Query("sum by (image) (criwist_image_pull_announced_bytes{NODE})", "{{image}} announced"),
                ],
                width=12,
                empty="none",
            ),
            Panel(
                "Downloads",
                "Bps",
                "Bytes of pulls, counted at their end.",
                [Query("sum(rate(criwist_image_pull_bytes_total{NODE}[$__rate_interval]))", "downloaded")],
                width=12,
            ),
            Panel(
                "Pulls",
                "none",
                "Pulls under way, and those that have ended by OK or the error.",
                [
                    Query("sum(criwist_image_pulls_in_progress{NODE})", "under way"),
                    Query(
                        "sum by (code) (increase(criwist_image_pulls_total{NODE}[$__rate_interval]))",
                        "{{code}}",
                    ),
                ],
                width=12,
            ),
            Panel(
                "Duration of pulls",
                "s",
                "Of pulls that have ended, with the extraction of layers.",
                _quantiles("criwist_image_pull_seconds", 0.5, 0.95),
                width=12,
            ),
        ],
    ),
    (
        "Logs and sessions",
        [
            Panel(
                "Logs",
                "none",
                "Logs of containers that criwist writes, by source: Docker's file, Docker's API, others.",
                [Query("sum by (source) (criwist_log_followers{NODE})", "{{source}}")],
                stacked=True,
                width=6,
            ),
            Panel(
                "Log lag",
                "bytes",
                "Output of containers that is not in their CRI logs yet: of all, and of the log that is most behind.",
                [
                    Query("sum(criwist_log_lag_bytes{NODE})", "all logs"),
                    Query("max(criwist_log_lag_most_bytes{NODE})", "one log"),
                ],
                width=6,
            ),
            Panel(
                "Log losses",
                "none",
                "Times that Docker removed or emptied a log file before it was read.",
                [Query("sum(increase(criwist_log_losses_total{NODE}[$__rate_interval]))", "losses")],
                width=6,
            ),
            Panel(
                "Streaming sessions",
                "none",
                "Open sessions of kubectl exec, attach and port-forward.",
                [Query("sum by (kind) (criwist_streams{NODE})", "{{kind}}")],
                stacked=True,
                width=6,
            ),
        ],
    ),
    (
        "criwist",
        [
            Panel(
                "Reactor latency",
                "s",
                "Delay of a timer: what everything on the reactor waits.",
                _quantiles("criwist_reactor_latency_seconds", 0.5, 0.99),
                width=6,
            ),
            Panel(
                "CPU",
                "none",
                "Cores that criwist uses.",
                [Query("rate(process_cpu_seconds_total{NODE}[$__rate_interval])", "{{instance}}")],
                axis="cores",
                width=6,
            ),
            Panel(
                "Memory",
                "bytes",
                "Resident memory of criwist.",
                [Query("process_resident_memory_bytes{NODE}", "{{instance}}")],
                width=6,
            ),
            Panel(
                "Open files",
                "percentunit",
                "Of those that criwist may open: sessions, logs, connections.",
                [Query("process_open_fds{NODE} / process_max_fds{NODE}", "{{instance}}")],
                width=6,
            ),
        ],
    ),
]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model."""
    panels = list(_placed())
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": "criwist",
        "title": "criwist",
        "description": "Nodes whose containers live in Docker Engine. Metrics: docs/observability.md of criwist.",
        "tags": ["kubernetes", "docker", "cri"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    selected = 'container_memory_working_set_bytes{instance=~"$instance"'
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
        _variable("instance", "Node", "label_values(criwist_build_info, instance)"),
        _variable("namespace", "Namespace", f"label_values({selected}}}, namespace)"),
        _variable("pod", "Pod", f'label_values({selected},namespace=~"$namespace"}}, pod)'),
    ]


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _placed() -> Iterator[dict[str, Any]]:
    """Yield the panels with their places: from left to right, each row below the one before."""
    y = 0
    for title, panels in ROWS:
        yield {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, y, _COLUMNS, 1)}
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            yield _panel(panel) | {"gridPos": _place(x, y, panel.width, panel.height)}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(number, query, panel.kind) for number, query in enumerate(panel.queries)],
    } | (_COLUMNS_OF_VERSIONS if panel.kind == "table" else {})


_OPTIONS: Final[dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}

_COLUMNS_OF_VERSIONS: Final = {
    "transformations": [
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True, "Value": True, "__name__": True, "job": True},
                "indexByName": {"instance": 0, "version": 1, "engine": 2},
                "renameByName": {"instance": "node", "version": "criwist", "engine": "Docker"},
            },
        }
    ]
}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green" if panel.kind == "stat" else "text", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "stat":
        defaults["decimals"] = 0
    if panel.empty:
        defaults["noValue"] = panel.empty
    if panel.states:
        options = {str(value): {"text": text, "color": color} for value, text, color in panel.states}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "axisLabel": panel.axis,
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        if not any(query.below for query in panel.queries):
            defaults["min"] = 0
    return defaults


def _overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    for number, query in enumerate(panel.queries):
        if query.below:
            yield {
                "matcher": {"id": "byFrameRefID", "options": _letter(number)},
                "properties": [{"id": "custom.transform", "value": "negative-Y"}],
            }


def _target(number: int, query: Query, kind: str) -> dict[str, Any]:
    instant = kind != "timeseries"
    return {
        "refId": _letter(number),
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": query.full_expression,
        "legendFormat": query.legend,
        "exemplar": query.exemplars,
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
    }


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def main() -> int:
    """Write or check; return the exit status."""
    if sys.argv[1:] == ["--check"]:
        return int(not FILE.exists() or FILE.read_text("utf-8") != text())
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
