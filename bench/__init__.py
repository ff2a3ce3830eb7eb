"""criwist beside containerd's CRI plugin, in one run on one machine: ``make bench``.

A scenario is a module of ``bench.scenarios`` with a sentence as docstring and a function ``run(ground)`` that yields
tables.  ``bench.ground`` has both runtimes started, with the same image; ``bench.measure`` has latency and CPU.
Figures of different machines, or of a busy one, do not compare.  Those of one table do.
"""

from __future__ import annotations
