"""The RPCs that describe the node's runtime: Version, Status, RuntimeConfig."""

from __future__ import annotations
