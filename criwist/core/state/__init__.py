"""The state of the engine as the core knows it: its profile, its events, and the cache of its containers."""

from __future__ import annotations
