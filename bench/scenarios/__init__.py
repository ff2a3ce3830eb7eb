"""One module for each scenario; the first line of its docstring names the measurement."""

from __future__ import annotations
