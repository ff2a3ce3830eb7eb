"""The page as HTML and as updates: what it shows, and that other people's text stays text."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.pulls import PullState
from criwist.core.state.cache import Snapshot
from criwist.metrics.page import plots, units
from criwist.metrics.page.document import Edition, document, update
from criwist.metrics.page.history import POINTS, Figure, History
from criwist.metrics.page.latencies import Latency
from criwist.metrics.page.markup import MAX_TEXT, Plot, element, html, jsonable, plain
from criwist.metrics.page.recent import RecentEvent, RecentWarning
from criwist.metrics.page.state import Condition
from criwist.metrics.page.view import Lists, lists
from criwist.reference import Reference, parse
from tests.metrics.sample_page import NOW, busy_node, container, exited, sandbox, state

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x1b[31m\u202e"


class Text(HTMLParser):
    """What a document consists of."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(shown: Lists, host: str = "node-1") -> Text:
    """Return what a browser reads of a page."""
    return Text(document(host, shown).decode("utf-8"))


def shown(snapshot: Snapshot | None = None, latencies: tuple[Latency, ...] = (), **fields: Any) -> Text:
    """Return what a browser reads of the page of a node without a history."""
    return read(lists(state(snapshot, **fields), History(), latencies))


class ViewTests(SynchronousTestCase):
    """The content of the page."""

    def test_empty_node(self) -> None:
        """A node without anything has a page that says so."""
        page = shown()
        self.assertIn("pods 0, 0 ready", page.text)
        self.assertEqual(page.text.count("none"), 4)
        self.assertEqual(page.tags.count("svg"), 0)

    def test_conditions(self) -> None:
        """A condition that is false is shown with its reason and its message."""
        page = shown(conditions=(Condition("RuntimeReady", False, "DockerIsAway", "no socket"),), engine=None)
        self.assertIn("RuntimeReadyfalseDockerIsAway: no socket", page.text.replace("✕ ", ""))
        self.assertIn("has not answered", page.text)

    def test_pods(self) -> None:
        """Pods are sorted by namespace and name, and have their containers, states, images and addresses."""
        second, first = sandbox("b", "second"), sandbox("a", "first", ready=False, running=False)
        oom = container("d", second, "job", 2, created_at=1, **exited(137, "OOMKilled"))
        created = container("e", second, "next", created_at=2, state=pb.CONTAINER_CREATED)
        unknown = container("f", second, "odd", created_at=3, state=pb.CONTAINER_UNKNOWN)
        done = container("g", second, "done", created_at=4, **exited(0, "Completed"))
        containers = {one.id: one for one in (oom, created, unknown, done)}
        page = shown(Snapshot({"b": second, "a": first}, containers, fresh=True))
        text = page.text
        self.assertLess(text.index("default/first"), text.index("default/second"))
        self.assertIn("not ready · 10.88.0.2 · 1 h", text)
        order = [text.index(part) for part in ("job exit 137 OOMKilled, attempt 2", "next created", "odd unknown")]
        self.assertEqual(order, sorted(order))
        self.assertIn("done exit 0", text)
        self.assertEqual(text.count("registry.example/app:1"), 4)

    def test_figures(self) -> None:
        """A pod's container has its CPU and memory as figures and as plots."""
        pod = sandbox("a")
        history = History()
        for point in range(3):
            figure = Figure(int(point * 5e9), int(point * 5e8), None, (10 + point) << 20, 64 << 20)
            history.record(point * 5.0, {"a": figure, "c": figure})
        snapshot = Snapshot({"a": pod}, {"c": container("c", pod)}, fresh=True)
        page = read(lists(state(snapshot), history, ()))
        self.assertIn("100 m", page.text)
        self.assertIn("12.0 MiB of 64.0 MiB", page.text)
        self.assertEqual(page.tags.count("svg"), 4)

    def test_pulls(self) -> None:
        """A pull has a bar; one whose size is not known yet has a bar without a value."""
        name = "registry.example/app:1"
        page = shown(pulls=(PullState(parse(name), 5 << 20, 10 << 20), PullState(parse(name), 0, 0)))
        self.assertIn("50 %", page.text)
        self.assertIn("5.0 MiB of 10.0 MiB", page.text)
        self.assertIn("waiting for the registry", page.text)
        self.assertEqual(page.tags.count("progress"), 2)

    def test_latencies(self) -> None:
        """The calls of a group that took most time are shown, no more than eight."""
        calls = tuple(Latency("CRI", f"Call{number}", 2, 0.1, math.inf) for number in range(20))
        page = shown(latencies=(Latency("reactor", "", 300, 0.0006, 0.005), *calls))
        self.assertIn("delay of a timer3000.6 ms≤ 5 ms", page.text)
        self.assertIn("Call72100 mslonger", page.text)
        self.assertNotIn("Call8", page.text)

    def test_busy_node(self) -> None:
        """A node with 110 pods has all of them on its page."""
        page = read(lists(*busy_node(110)))
        self.assertEqual(page.tags.count("article"), 110)


class HostileTests(SynchronousTestCase):
    """Names, images and messages that would be markup."""

    def hostile_lists(self) -> Lists:
        """Return a page whose every foreign string is hostile."""
        pod = sandbox("<b>", HOSTILE, HOSTILE, status=b"")
        ended = container("d", pod, HOSTILE, 1, image=HOSTILE, **exited(1, HOSTILE))
        snapshot = Snapshot({pod.id: pod}, {"c": container("c", pod, HOSTILE, image=HOSTILE), "d": ended}, fresh=True)
        return lists(
            state(
                snapshot,
                version=HOSTILE,
                conditions=(Condition(HOSTILE, False, HOSTILE, HOSTILE),),
                pulls=(PullState(Reference(HOSTILE, HOSTILE, HOSTILE), 1, 2),),
                events=(RecentEvent(0, NOW, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, True),),
                warnings=(RecentWarning(0, NOW, "warn", plain(HOSTILE)),),
            ),
            History(),
            (Latency(HOSTILE, HOSTILE, 1, 1.0, 1.0),),
        )

    def test_html(self) -> None:
        """The document has the same elements and attributes as one with harmless strings."""
        harmless = Text(document("host", self.hostile_lists()).decode("utf-8").replace("alert", ""))
        page = read(self.hostile_lists(), HOSTILE)
        self.assertEqual(page.tags.count("script"), 1)
        self.assertNotIn("img", page.tags)
        self.assertEqual({name for name in page.attributes if name.startswith("on")}, set())
        self.assertEqual(page.tags, harmless.tags)
        self.assertGreater(page.text.count("<script>alert(1)</script>"), 10)

    def test_no_terminal_sequences(self) -> None:
        """No character steers a terminal or the direction of the text, in the document or in the updates."""
        whole = document(HOSTILE, self.hostile_lists()).decode("utf-8")
        shown = "".join(Text(whole).text.split("\n"))
        self.assertTrue(shown.isprintable(), [one for one in shown if not one.isprintable()])

    def test_update(self) -> None:
        """An update is one line of ASCII, in which hostile strings are strings."""
        event = update({}, self.hostile_lists())
        self.assertTrue(event.startswith(b"data: ") and event.endswith(b"\n\n"))
        self.assertNotIn(b"\n", event[:-2])
        changes = json.loads(event.removeprefix(b"data: "))
        tags: set[str] = set()
        collect_tags([row for change in changes.values() for _, row in change["rows"]], tags)
        self.assertNotIn("script", tags)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text is read back as what plain() makes of it."""
        self.assertEqual(Text(html(element("td", plain(text)))).text, plain(text))
        self.assertTrue(plain(text).isprintable())
        self.assertLessEqual(len(plain(text)), MAX_TEXT)


def collect_tags(nodes: list[Any], tags: set[str]) -> None:
    """Add the names of all elements of an update."""
    for node in nodes:
        if isinstance(node, list):
            tags.add(node[0])
            collect_tags(node[2:], tags)


class UpdateTests(SynchronousTestCase):
    """The difference of two pages."""

    def change(self, before: Lists, after: Lists) -> dict[str, Any]:
        """Return an update's content."""
        found: dict[str, Any] = json.loads(update(before, after).removeprefix(b"data: "))
        return found

    def test_nothing(self) -> None:
        """Two pages that are the same differ in nothing."""
        page = lists(*busy_node(3))
        self.assertEqual(self.change(page, lists(*busy_node(3))), {})

    def test_one_row(self) -> None:
        """A row that has changed is sent alone; the order only if the keys have changed."""
        before = lists(state(), History(), ())
        after = lists(state(at=NOW + 1), History(), ())
        change = self.change(before, after)
        self.assertEqual([key for key, _ in change["summary"]["rows"]], ["at"])
        self.assertEqual(set(change), {"summary"})
        self.assertNotIn("order", change["summary"])

    def test_removed(self) -> None:
        """A pod that is gone is left out of the order."""
        first, second = sandbox("a", "first"), sandbox("b", "second")
        before = lists(state(Snapshot({"a": first, "b": second})), History(), ())
        after = lists(state(Snapshot({"b": second})), History(), ())
        self.assertEqual(self.change(before, after)["pods"], {"order": ["b"]})

    def test_unchanged_pods(self) -> None:
        """The rows of pods are taken from before, where that is asked for."""
        given = {"": element("p", "kept")}
        self.assertIs(lists(state(), History(), (), pods=given)["pods"], given)

    def test_whole(self) -> None:
        """A client that comes gets all lists with their order."""
        page = lists(*busy_node(2))
        whole = json.loads(Edition(0, "host", page, b"").whole().removeprefix(b"data: "))
        self.assertEqual(set(whole), set(page))
        self.assertEqual(
            {name: change["order"] for name, change in whole.items()}, {k: list(v) for k, v in page.items()}
        )

    def test_same_plots(self) -> None:
        """A plot is the same path in both forms: the string of levels is what the script draws of."""
        plot = Plot("0v v", "label")
        self.assertEqual(jsonable(plot), {"levels": "0v v", "label": "label", "limited": False})
        self.assertIn('d="M0 31L1 0M3 0L3.5 0"', html(plot))
        self.assertIn("limited", html(evolve(plot, limited=True)))


class PlotTests(SynchronousTestCase):
    """Levels, paths and bars."""

    def test_levels(self) -> None:
        """The highest value has the highest level, and a gap is a space."""
        self.assertEqual(plots.levels([0.0, math.nan, 5.0, 10.0, 20.0], 10.0), "0 gvv")

    def test_bars(self) -> None:
        """Bars are the highest of the points that they stand for, the newest last."""
        self.assertEqual(plots.bars("0v"), "▁█")
        self.assertEqual(plots.bars("   "), "")
        self.assertEqual(plots.bars(" " * 48 + "0" * 7 + "v" + "0" * 4), "▁▁█")
        self.assertEqual(len(plots.bars("g" * POINTS)), 12)

    @given(st.text(alphabet=" 05gv", max_size=80))
    def test_any_levels(self, levels: str) -> None:
        """Every run of points is one line and one closed area."""
        line, area = plots.path(levels, 32)
        runs = len(levels.split())
        self.assertEqual((line.count("M"), area.count("M"), area.count("Z")), (runs, runs, runs))
        self.assertIsNone(re.search(r"[^ML0-9 .]", line))
        self.assertLessEqual(len(plots.bars(levels)), 12)


class UnitTests(SynchronousTestCase):
    """Figures in words."""

    def test_units(self) -> None:
        """Figures have few digits and the unit that fits."""
        cases = [
            (units.cores, 0.0124, "12 m"),
            (units.cores, 12.34, "12.3"),
            (units.cores, math.nan, units.UNKNOWN),
            (units.size, 0, "0 B"),
            (units.size, 34.1 * 2**20, "34.1 MiB"),
            (units.size, 1023 * 2**20, "1.0 GiB"),
            (units.size, math.nan, units.UNKNOWN),
            (units.duration, 0.0032, "3.2 ms"),
            (units.duration, 0.45, "450 ms"),
            (units.duration, 2.5, "2.5 s"),
            (units.duration, 61, "61 s"),
            (units.duration, math.inf, "∞"),
            (units.age, 59, "0 min"),
            (units.age, 3599, "59 min"),
            (units.age, 90000, "1 d"),
            (units.clock, NOW, "22:13:20"),
        ]
        for function, value, words in cases:
            self.assertEqual(function(value), words)
