"""Exec, attach and port-forward sessions over SPDY/3.1 and WebSocket."""

from __future__ import annotations
