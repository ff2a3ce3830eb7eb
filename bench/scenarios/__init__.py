"""One module for each scenario; the first line of its docstring says what it shows."""

from __future__ import annotations
