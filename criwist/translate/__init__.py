"""CRI to Docker and back: pure functions named for their result."""

from __future__ import annotations
