"""The page's content: from the state, the history and the latencies to rows of elements.

The page has a few lists, each a container with an id; a list has rows by key.  An update sends the rows of a list that
have changed, and the order of the keys if that has.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.pulls import PullState
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.metrics.page import plots, units
from criwist.metrics.page.history import INTERVAL, POINTS, History
from criwist.metrics.page.latencies import Latency
from criwist.metrics.page.markup import Element, Node, Plot, element, plain
from criwist.metrics.page.recent import RecentEvent, RecentWarning, exit_of
from criwist.metrics.page.state import Condition, NodeState

#: Rows by key, in their order.
Rows = Mapping[str, Element]
#: The lists by id, in the order of the page.
Lists = Mapping[str, Rows]

#: A plot of CPU reaches at least this many CPUs, and one of memory this many bytes, so that noise stays flat.
_LEAST_CORES: Final = 0.05
_LEAST_MEMORY: Final = 16 << 20
#: How far a plot of memory without a limit reaches above its highest value.
_HEADROOM: Final = 1.25
#: Calls of a group that are shown.
_MAX_CALLS: Final = 8
#: Statuses of pods and of exited containers that are kept parsed: more than a node has.
_KEPT: Final = 2048
_MINUTES: Final = round(INTERVAL * POINTS / 60)
#: The mark before a name: not by colour alone, and readable in a terminal.
_MARKS: Final = {"ok": "●", "off": "○", "bad": "✕", "wait": "◌"}


@frozen
class _Figures:
    """The figures of one pod or container."""

    cpu: Sequence[float]
    memory: Sequence[float]
    limit: int | None


def lists(
    state: NodeState,
    history: History,
    latencies: Iterable[Latency],
    *,
    since_start: bool = False,
    pods: Rows | None = None,
) -> Lists:
    """Return the content of the page.

    :param since_start: whether the latencies are those since criwist's start, not those of the last minutes.
    :param pods: the rows of an earlier call with the same snapshot and history, which are most of the work.
    """
    return {
        "summary": _summary(state, history),
        "conditions": {one.name: _condition(one) for one in state.conditions},
        "pulls": _pulls(state.pulls),
        "pods": pods or _pods(state, history),
        "events": _some({str(one.number): _event(one) for one in state.events}, 4),
        "warnings": _some({str(one.number): _warning(one) for one in state.warnings}, 3),
        "latencies": _latencies(latencies, since_start),
    }


def _some(rows: Mapping[str, Element], columns: int) -> Rows:
    """Return the rows of a table, or one that says that there are none."""
    return rows or {"": element("tr", element("td", "none", class_="none", colspan=str(columns)))}


def _mark(kind: str, words: str) -> Element:
    return element("span", _MARKS[kind], class_=f"mark {kind}", title=words)


# -- The top


def _summary(state: NodeState, history: History) -> Rows:
    sandboxes, containers = state.snapshot.sandboxes, state.snapshot.containers
    ready = sum(one.ready for one in sandboxes.values())
    running = sum(one.state == pb.CONTAINER_RUNNING for one in containers.values())
    engine = state.engine
    docker = f"{engine.version}, API {'.'.join(map(str, engine.api_version))}" if engine else "has not answered"
    figures = _Figures(*history.sums(sandboxes), None)
    return {
        "at": _fact("state of", f"{units.clock(state.at)} UTC"),
        "criwist": _fact("criwist", f"{state.version}, up {units.age(state.at - state.started)}"),
        "docker": _fact("Docker", docker),
        "pods": _fact("pods", f"{len(sandboxes)}, {ready} ready"),
        "containers": _fact("containers", f"{len(containers)}, {running} running"),
        "cpu": _fact("CPU of pods", *_cpu(figures)),
        "memory": _fact("memory of pods", *_memory(figures)),
    }


def _fact(name: str, *value: Node) -> Element:
    text = tuple(plain(one) if isinstance(one, str) else one for one in value)
    return element("div", element("dt", name), " ", element("dd", *text))


def _condition(one: Condition) -> Element:
    why = ": ".join(plain(part) for part in (one.reason, one.message) if part)
    return element(
        "tr",
        element("th", _mark("ok" if one.true else "bad", "true" if one.true else "false"), " ", plain(one.name)),
        element("td", "true" if one.true else "false", class_="" if one.true else "failed"),
        element("td", why, class_="text"),
    )


def _pulls(pulls: Iterable[PullState]) -> Rows:
    rows: dict[str, Element] = {}
    for pull in pulls:
        key = name = pull.reference.familiar
        while key in rows:  # one image with different credentials
            key += "+"
        rows[key] = _pull(plain(name), pull)
    return _some(rows, 3)


def _pull(name: str, pull: PullState) -> Element:
    if not pull.announced:
        bar, amount = element("progress", "waiting"), "waiting for the registry"
    else:
        percent = f"{100 * pull.downloaded // pull.announced} %"
        bar = element("progress", percent, value=str(pull.downloaded), max=str(pull.announced))
        amount = f"{units.size(pull.downloaded)} of {units.size(pull.announced)}"
    return element("tr", element("th", name), element("td", bar, class_="bar"), element("td", amount, class_="number"))


# -- Pods


def _pods(state: NodeState, history: History) -> Rows:
    members: dict[str, list[ContainerEntry]] = {}
    for container in state.snapshot.newest_containers:
        members.setdefault(container.sandbox_id, []).append(container)
    sandboxes = sorted(
        state.snapshot.sandboxes.values(), key=lambda one: (one.name.namespace, one.name.pod, -one.created_at)
    )
    rows = {one.id: _pod(one, members.get(one.id, ()), history, state.at) for one in sandboxes}
    return rows or {"": element("p", "none", class_="none")}


def _pod(entry: SandboxEntry, containers: Iterable[ContainerEntry], history: History, now: float) -> Element:
    age = units.age(max(0.0, now - entry.created_at / 1e9))
    kind = "ok" if entry.ready else ("wait" if entry.running else "off")
    state = "ready" if entry.ready else "not ready"
    rows = [_container(one, _figures(history, one.id)) for one in sorted(containers, key=lambda one: one.created_at)]
    if len(rows) != 1:
        rows.insert(0, _usage_row(element("th", "pod", class_="whole"), _figures(history, entry.id)))
    address = _address(entry.status) or ("node's network" if entry.host_network else "")
    return element(
        "article",
        element(
            "h3",
            element(
                "span",
                _mark(kind, state),
                " ",
                element("span", plain(entry.name.namespace), "/", class_="namespace"),
                plain(entry.name.pod),
                class_="name",
            ),
            " ",
            element(
                "span",
                " · ".join(part for part in ("" if entry.ready else state, plain(address), age) if part),
                class_="facts",
            ),
        ),
        element("table", element("tbody", *rows)),
        class_=f"pod {kind}",
    )


def _container(entry: ContainerEntry, figures: _Figures) -> Element:
    kind, words = _container_state(entry)
    attempt = f"attempt {entry.name.attempt}" if entry.name.attempt else ""
    shown = [part for part in ("" if kind == "ok" else words, attempt) if part]
    name = element(
        "th",
        _mark(kind, words),
        " ",
        element("span", plain(entry.name.container), class_="name"),
        " " if shown else "",
        element("span", ", ".join(shown), class_="failed" if kind == "bad" else "state"),
        " ",
        element("span", plain(entry.image), class_="image", title=plain(entry.image)),
    )
    return _usage_row(name, figures)


def _container_state(entry: ContainerEntry) -> tuple[str, str]:
    if entry.state == pb.CONTAINER_RUNNING:
        return "ok", "running"
    if entry.state == pb.CONTAINER_EXITED:
        detail, failed = _exit(entry.status)
        return "bad" if failed else "off", detail
    if entry.state == pb.CONTAINER_CREATED:
        return "wait", "created"
    return "wait", "unknown"


def _usage_row(name: Element, figures: _Figures) -> Element:
    return element(
        "tr", name, element("td", *_cpu(figures), class_="usage"), element("td", *_memory(figures), class_="usage")
    )


@functools.lru_cache(_KEPT)
def _exit(status: bytes) -> tuple[str, bool]:
    detail, failed = exit_of(status)
    return plain(detail), failed


@functools.lru_cache(_KEPT)
def _address(status: bytes) -> str:
    return str(pb.PodSandboxStatus.FromString(status).network.ip)


# -- Figures


def _figures(history: History, identifier: str) -> _Figures:
    return _Figures(history.cpu(identifier), history.memory(identifier), history.limit(identifier))


def _highest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _cpu(figures: _Figures) -> tuple[Node, ...]:
    highest = _highest(figures.cpu)
    if math.isnan(highest):
        return (element("span", units.UNKNOWN, class_="number"),)
    label = f"CPU, last {_MINUTES} minutes, {units.cores(highest)} at most"
    levels = plots.levels(figures.cpu, max(highest, _LEAST_CORES))
    return element("span", units.cores(figures.cpu[-1]), class_="number", title=label), " ", Plot(levels, label)


def _memory(figures: _Figures) -> tuple[Node, ...]:
    highest = _highest(figures.memory)
    if math.isnan(highest):
        return (element("span", units.UNKNOWN, class_="number"),)
    label = f"memory, last {_MINUTES} minutes, {units.size(highest)} at most"
    amount = element("span", units.size(figures.memory[-1]), class_="number", title=label)
    if figures.limit is None:
        return amount, " ", Plot(plots.levels(figures.memory, max(highest * _HEADROOM, _LEAST_MEMORY)), label)
    limit = units.size(figures.limit)
    label += f", limit {limit}"
    levels = plots.levels(figures.memory, max(highest, figures.limit))
    return amount, " ", element("span", f"of {limit}", class_="limit"), " ", Plot(levels, label, limited=True)


# -- What happened


def _event(one: RecentEvent) -> Element:
    name = f"{one.namespace}/{one.pod}" + (f" {one.container}" if one.container else "")
    return element(
        "tr",
        element("td", units.clock(one.at), class_="time"),
        element("td", plain(one.kind), class_="failed" if one.failed else ""),
        element("td", plain(name), class_="text"),
        element("td", plain(one.detail), class_="failed" if one.failed else ""),
    )


def _warning(one: RecentWarning) -> Element:
    return element(
        "tr",
        element("td", units.clock(one.at), class_="time"),
        element("td", one.level, class_="level" if one.level == "warn" else "failed"),
        element("td", one.text, class_="text"),
    )


def _latencies(latencies: Iterable[Latency], since_start: bool) -> Rows:
    since = "since criwist's start" if since_start else f"in the last {_MINUTES} minutes"
    rows = {"since": element("tr", element("td", since, class_="none", colspan="5"))}
    shown: dict[str, int] = {}
    for one in latencies:
        shown[one.group] = shown.get(one.group, 0) + 1
        if shown[one.group] <= _MAX_CALLS:
            rows[f"{one.group} {one.call}"] = element(
                "tr",
                element("td", plain(one.group), class_="group"),
                element("td", plain(one.call) or "delay of a timer", class_="text"),
                *(element("td", text, class_="number") for text in _durations(one)),
            )
    return rows


def _durations(one: Latency) -> tuple[str, str, str]:
    bound = "longer" if math.isinf(one.within) else f"≤ {units.duration(one.within)}"
    return str(one.count), units.duration(one.mean), bound
