"""Figures in words: few digits, and the unit that a person would choose."""

from __future__ import annotations

import math
import time
from typing import Final

#: What stands for a figure that is not known.
UNKNOWN: Final = "\N{EN DASH}"
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def cores(value: float) -> str:
    """Return CPUs in use as Kubernetes writes them: ``250 m``; from ten on ``12.3``."""
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.1f}" if value >= 10 else f"{value * 1000:.0f} m"


def size(value: float) -> str:
    """Return bytes as ``34.1 MiB``."""
    if math.isnan(value):
        return UNKNOWN
    unit = 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_SIZES[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_SIZES[unit]}"


def duration(seconds: float) -> str:
    """Return a duration of a call: ``3.2 ms``, ``450 ms``, ``12 s``."""
    if math.isinf(seconds):
        return "∞"
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """Return an age in its largest unit; it changes each minute at most."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "0 min"


def clock(at: float) -> str:
    """Return a time of day, UTC."""
    return time.strftime("%H:%M:%S", time.gmtime(at))
