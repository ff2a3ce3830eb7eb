"""CNI configuration and results as values, without I/O."""

from __future__ import annotations
