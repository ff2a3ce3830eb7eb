"""Kubernetes quantities: ``500m``, ``64Mi``, ``1.5``, ``2e3`` (apimachinery, ``resource.Quantity``)."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:[eE](?P<exponent>[+-]?\d+)|(?P<suffix>[a-zA-Z]*))")
_DECIMAL = {
    suffix: Decimal(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_SUFFIXES = {"": Decimal(1)} | _DECIMAL | _BINARY

#: The period kubelet gives CPU quotas, in microseconds, and the shares of one whole CPU.
CPU_PERIOD = 100_000
_SHARES = 1024


def quantity(text: str) -> Decimal:
    """The number that *text* stands for; ValueError if it stands for none."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or (match["suffix"] or "") not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity such as 500m or 64Mi")
    exponent = Decimal(10) ** int(match["exponent"] or 0)
    return Decimal(match["number"]) * exponent * _SUFFIXES[match["suffix"] or ""]


def cpu_quota(limit: str) -> int:
    """Microseconds of CPU in each period, as kubelet computes them: at least 1000."""
    return max(int(quantity(limit) * CPU_PERIOD), 1000)


def cpu_shares(request: str) -> int:
    """CPU shares, as kubelet computes them: at least 2."""
    return max(int(quantity(request) * _SHARES), 2)


def number_of_bytes(text: str) -> int:
    """Whole bytes, rounded up."""
    value = quantity(text)
    return int(value) + (value != int(value))
