"""The RPCs of pod sandboxes."""

from __future__ import annotations
