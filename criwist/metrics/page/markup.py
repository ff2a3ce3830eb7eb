"""Trees of elements, as HTML and as JSON.

Names of pods, names of images and messages are other people's text.  They are only ever text or values of attributes:
:func:`html` escapes both, and the page's script uses ``textContent`` and ``setAttribute``.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

from attrs import frozen

from criwist.metrics.page.plots import bars, path

#: Characters of a foreign text; what is longer is cut.
MAX_TEXT: Final = 400
_CUT: Final = "…"
_UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"
#: Height of a plot's drawing; its width is the number of its points.
PLOT_HEIGHT: Final = 32


@frozen
class Element:
    """An HTML element.  Names are of this package, never of a user."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Node, ...]


@frozen
class Plot:
    """A small plot: an area over time, and bars of text for a browser that has no graphics.

    :param levels: what :func:`.plots.levels` returns.
    :param label: what it shows, for people who do not see it.
    :param limited: whether its highest level is a limit.
    """

    levels: str
    label: str
    limited: bool = False


Node = str | Element | Plot


def element(tag: str, *children: Node, **attributes: str) -> Element:
    """Return an element.  ``class_`` is the attribute ``class``; ``aria_label`` is ``aria-label``."""
    named = tuple((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value)
    return Element(tag, named, children)


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """Return *text* as one line: cut, and without characters that steer a terminal or the direction of the text."""
    cut = text if len(text) <= limit else text[: limit - 1] + _CUT
    spaced = " ".join(cut.split())
    return spaced if spaced.isprintable() else "".join(one if one.isprintable() else _UNPRINTABLE for one in spaced)


def html(node: Node, key: str | None = None) -> str:
    """Return HTML.

    :param key: the key of a row, see ``view``; it becomes the attribute ``data-key``.
    """
    if isinstance(node, str):
        return escape(node)
    if isinstance(node, Plot):
        return _svg(node)
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in node.attributes)
    if key is not None:
        attributes += f' data-key="{escape(key)}"'
    return f"<{node.tag}{attributes}>{''.join(map(html, node.children))}</{node.tag}>"


def _svg(plot: Plot) -> str:
    line, area = path(plot.levels, PLOT_HEIGHT)
    attributes = {
        "class": "plot limited" if plot.limited else "plot",
        "role": "img",
        "aria-label": plot.label,
        "viewBox": f"0 0 {len(plot.levels) - 1} {PLOT_HEIGHT}",
        "preserveAspectRatio": "none",
    }
    named = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    drawn = f'<path class="area" d="{area}"></path><path class="line" d="{line}"></path>'
    return f"<svg {named}><text>{bars(plot.levels)}</text>{drawn}</svg>"


def jsonable(node: Node) -> Any:
    """Return what the script builds an element of: a string, ``[tag, attributes, *children]`` or a plot's object."""
    if isinstance(node, str):
        return node
    if isinstance(node, Plot):
        return {"levels": node.levels, "label": node.label, "limited": node.limited}
    return [node.tag, dict(node.attributes), *map(jsonable, node.children)]
