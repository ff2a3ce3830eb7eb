"""CPU and memory of a manifest, as the numbers that kubelet computes of them."""

from __future__ import annotations

from typing import Final

from criwist.quantities import quantity, whole_quantity

#: The period kubelet gives CPU quotas, in microseconds, and the shares of one whole CPU.
CPU_PERIOD: Final = 100_000
_SHARES: Final = 1024


def cpu_quota(limit: str) -> int:
    """Return microseconds of CPU in each period, as kubelet computes them: at least 1000."""
    return max(int(quantity(limit.strip()) * CPU_PERIOD), 1000)


def cpu_shares(request: str) -> int:
    """Return CPU shares, as kubelet computes them: at least 2."""
    return max(int(quantity(request.strip()) * _SHARES), 2)


def number_of_bytes(text: str) -> int:
    """Return whole bytes, rounded up."""
    return whole_quantity(text.strip())
