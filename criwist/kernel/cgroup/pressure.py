"""Pressure stall information of a cgroup (Documentation/accounting/psi.rst).

The files are in the v2 hierarchy, also on hybrid hosts, where the engine puts containers into it without a controller.
A kernel without PSI has none, and one started with ``psi=0`` refuses to read them.  ``cpu.pressure`` has no line
``full`` before Linux 5.13.
"""

from __future__ import annotations

import re

from criwist.interfaces.kernel import Pressure, PressureShare
from criwist.kernel.cgroup.counters import read_bytes
from criwist.kernel.cgroup.paths import Cgroup

_LINE = re.compile(
    rb"^(some|full) avg10=(\d{1,3}\.\d+) avg60=(\d{1,3}\.\d+) avg300=(\d{1,3}\.\d+) total=(\d{1,20})$", re.MULTILINE
)


def read_pressure(cgroup: Cgroup, resource: str) -> Pressure | None:
    """Return the pressure of ``cpu``, ``memory`` or ``io``; None if the kernel does not report it."""
    return parse_pressure(read_bytes(cgroup.v2, f"{resource}.pressure"))


def parse_pressure(text: bytes | None) -> Pressure | None:
    """Return the content of a pressure file; None if it has no line of the known form."""
    shares = {
        kind: PressureShare(int(total) * 1000, float(avg10), float(avg60), float(avg300))
        for kind, avg10, avg60, avg300, total in _LINE.findall(text or b"")
    }
    return Pressure(shares.get(b"some"), shares.get(b"full")) if shares else None
