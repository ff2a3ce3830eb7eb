"""Logs from the engine's log API."""

from __future__ import annotations
