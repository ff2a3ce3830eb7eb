"""Limits in the files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst), in the units of v1.

runc and crun convert CPU shares to a weight, and the inverse is not unique.  Two formulas are in use: the linear one of
runc before 1.3.2 and crun before 1.23, and the logarithmic one of later releases, which maps the default of 1024 to the
default of 100.  So callers pass the shares of the request: if either formula converts them to the present weight, they
are the present shares.
"""

from __future__ import annotations

import math

from criwist.interfaces.kernel import Limits
from criwist.kernel.cgroup.limits import read_hugepages, read_value
from criwist.kernel.cgroup.paths import Cgroup

HUGEPAGE_FILES = ("hugetlb.{size}.max", "hugetlb.{size}.rsvd.max")

_DEFAULT_WEIGHT = 100
_DEFAULT_SHARES = 1024
_SHARES = range(2, 262144 + 1)


def read_limits(cgroup: Cgroup, asked_shares: int = 0) -> Limits:
    """Return the present limits.

    :param asked_shares: the engine's ``HostConfig.CpuShares``; 0: the request had none, or it is unknown.
    """
    directory = cgroup.v2
    quota, _, period = read_value(directory, "cpu.max").partition(" ")
    weight = read_value(directory, "cpu.weight")
    memory = _limit(read_value(directory, "memory.max"))
    swap = _limit(read_value(directory, "memory.swap.max"))
    hugepages = read_hugepages(directory, ".max")
    return Limits(
        cpu_period=int(period) if period else None,
        cpu_quota=_limit(quota),
        cpu_shares=shares_of_weight(int(weight), asked_shares) if weight else None,
        cpuset_cpus=read_value(directory, "cpuset.cpus"),
        cpuset_mems=read_value(directory, "cpuset.mems"),
        memory=memory,
        memory_and_swap=memory + swap if memory is not None and swap is not None else None,
        pids=_limit(read_value(directory, "pids.max")),
        hugepages={size: limit for size, text in hugepages.items() if (limit := _limit(text)) is not None},
    )


def shares_of_weight(weight: int, asked: int = 0) -> int:
    """Return the cgroup v1 shares of a weight.

    Without *asked*, or if it does not match, the default weight becomes the default shares; any other weight is
    converted by the linear formula, as in kubelet.
    """
    if asked and weight in (linear_weight(asked), logarithmic_weight(asked)):
        return asked
    if weight == _DEFAULT_WEIGHT:
        return _DEFAULT_SHARES
    return 2 + (weight - 1) * 262142 // 9999


def linear_weight(shares: int) -> int:
    """Return the weight that runc before 1.3.2 sets for these shares."""
    return 1 + (_clamped(shares) - 2) * 9999 // 262142


def logarithmic_weight(shares: int) -> int:
    """Return the weight that runc since 1.3.2 sets: 2 → 1, 1024 → 100, 262144 → 10000, and a smooth curve between."""
    magnitude = math.log2(_clamped(shares))
    exponent = (magnitude * magnitude + 125 * magnitude) / 612 - 7 / 34
    return max(1, min(10000, math.ceil(10**exponent)))


def _clamped(shares: int) -> int:
    return min(max(shares, _SHARES[0]), _SHARES[-1])


def _limit(text: str) -> int | None:
    return int(text) if text not in ("", "max") else None
