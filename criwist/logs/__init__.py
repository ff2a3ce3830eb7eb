"""CRI log files, written from what the engine recorded."""

from __future__ import annotations
