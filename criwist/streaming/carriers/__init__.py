"""Connections that carry streams: SPDY, WebSocket channels, SPDY inside a WebSocket."""

from __future__ import annotations
