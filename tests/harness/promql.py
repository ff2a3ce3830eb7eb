"""The names of metrics in expressions of Prometheus."""

from __future__ import annotations

import re

#: What an expression has beside names of metrics and functions: strings, selectors, ranges, lists of labels.
_OTHERS = re.compile(
    r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)', re.DOTALL
)
_SELECTOR = re.compile(r"\{[^}]*\}")
_KEYWORDS = {"and", "or", "unless", "offset", "bool"}


def metric_names(expression: str) -> set[str]:
    """Return the names of the series that *expression* selects: ``rate(a_total{b="c"}[5m])`` has ``a_total``."""
    rest = _SELECTOR.sub(" ", _OTHERS.sub(" ", expression))
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", rest)) - _KEYWORDS
