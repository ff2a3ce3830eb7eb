"""The document and the updates: lists of rows as HTML, and the difference of two as JSON."""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

from attrs import field, frozen

from criwist.metrics.page.markup import html, jsonable, plain
from criwist.metrics.page.view import Lists

#: The page around the lists.
_DOCUMENT: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>criwist on {host}</title>
<link rel="icon" href="page.svg">
<link rel="stylesheet" href="page.css">
<script src="page.js" defer></script>
</head>
<body>
<header>
<h1>criwist <span>on {host}</span></h1>
<p id="live">Reload for a later state.</p>
<nav><a href="#pulls-title">Pulls</a> <a href="#pods-title">Pods</a> <a href="#warnings-title">Warnings</a>
<a href="#events-title">Events</a> <a href="#latencies-title">Latencies</a> <a href="metrics">Metrics</a></nav>
</header>
<main>
<section class="top" aria-label="Node">
<dl id="summary">{summary}</dl>
<table><tbody id="conditions">{conditions}</tbody></table>
</section>
<section class="pulls"><h2 id="pulls-title">Pulls</h2>
<table><tbody id="pulls">{pulls}</tbody></table></section>
<section class="pods"><h2 id="pods-title">Pods</h2>
<div id="pods">{pods}</div></section>
<div class="side">
<section><h2 id="warnings-title">Warnings</h2>
<table><tbody id="warnings">{warnings}</tbody></table></section>
<section><h2 id="events-title">Events</h2>
<table><tbody id="events">{events}</tbody></table></section>
<section><h2 id="latencies-title">Latencies</h2>
<table><thead><tr><th></th><th>call</th><th>count</th><th>mean</th><th>99 %</th></tr></thead>
<tbody id="latencies">{latencies}</tbody></table></section>
</div>
</main>
</body>
</html>
"""


def document(host: str, lists: Lists) -> bytes:
    """Return the HTML of the whole page, in UTF-8."""
    rows = {name: "\n".join(html(row, key) for key, row in rows.items()) for name, rows in lists.items()}
    text = _DOCUMENT.format(host=escape(plain(host)), **rows)
    return text.encode("utf-8", "replace")


def update(before: Lists, after: Lists) -> bytes:
    """Return one event for an open page: the rows that differ, and the order of each list whose keys differ.

    The JSON is ``{list: {"rows": [[key, element], …], "order": [key, …]}}``; ``order`` is left out if it is the same.
    Lists that are the same are left out.  With an empty *before* it is everything.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, rows in after.items():
        known = before.get(name, {})
        changed = [[key, jsonable(row)] for key, row in rows.items() if known.get(key) != row]
        if changed:
            changes.setdefault(name, {})["rows"] = changed
        if name not in before or list(known) != list(rows):
            changes.setdefault(name, {})["order"] = list(rows)
    return b"data: " + json.dumps(changes, separators=(",", ":")).encode("ascii") + b"\n\n"


@frozen(eq=False)
class Edition:
    """The page at one moment.

    :param number: one more than the edition's before.
    """

    number: int
    host: str
    lists: Lists
    #: The event that leads from the edition before to this one.
    change: bytes
    _whole: list[bytes] = field(factory=list, init=False)

    def html(self) -> bytes:
        """Return the document."""
        return document(self.host, self.lists)

    def whole(self) -> bytes:
        """Return an event with everything, for a page that comes or was left behind."""
        if not self._whole:
            self._whole.append(update({}, self.lists))
        return self._whole[0]
