"""Compare criwist and containerd's CRI plugin in one run on one machine: ``make bench``.

A scenario is a module of ``bench.scenarios`` with a sentence as docstring and a function ``run(ground)`` that yields
tables.  ``bench.ground`` starts both runtimes, with the same image; ``bench.measure`` measures latency and CPU.
Figures of different machines, or of a busy one, cannot be compared.  Those of one table can.
"""

from __future__ import annotations
