"""Kubernetes resource quantities: ``500m``, ``1.5Gi``, ``2e6`` (apimachinery, ``resource.Quantity``)."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

#: An exponent has three digits at most: a larger one would make a number that fills the memory.
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3}|)\Z", re.A
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str) -> Fraction:
    """Return the exact value of a quantity.

    :raises ValueError: *text* is not a quantity.
    """
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m or 1.5Gi")
    suffix = match["suffix"]
    if suffix in _BINARY:
        scale = Fraction(2) ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        scale = Fraction(10) ** _DECIMAL[suffix]
    else:
        scale = Fraction(10) ** int(suffix[1:])
    return Fraction(match["number"]) * scale


def whole_quantity(text: str) -> int:
    """Return the value of a quantity with a fraction rounded up, as apimachinery's ``Quantity.Value`` does.

    :raises ValueError: *text* is not a quantity.
    """
    return ceil(quantity(text))
