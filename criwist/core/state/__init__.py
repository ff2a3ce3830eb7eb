"""What is known of the engine: its facts, its events, and the copy of our containers."""

from __future__ import annotations
