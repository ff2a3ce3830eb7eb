"""The page for people at ``/`` of the metrics address: one document, rendered here, and its updates.

    Stats ──▶ figures ──▶ history ──┐
    cache, images, node_status ──▶ state ──▶ view ──▶ markup ──▶ HTML, for a first look
    Recorder ──▶ latencies ─────────┘                       └──▶ JSON, for the updates

The view is written once, as trees of elements.  A browser without JavaScript gets them as HTML; the script of a page
that is open gets those that have changed as JSON, and builds the same elements.  Readings and trees are made in a
thread, and only while somebody looks.
"""

from __future__ import annotations
