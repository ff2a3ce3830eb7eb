"""Usage of pods and containers."""

from __future__ import annotations
