"""criwist's own state on disk."""

from __future__ import annotations
