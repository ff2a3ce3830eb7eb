"""The engine's log API as the source of a CRI log."""

from __future__ import annotations
