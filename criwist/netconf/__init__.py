"""CNI configuration and results as values: no I/O beyond what is handed in."""

from __future__ import annotations
