"""A small CRI client that runs one pod manifest, to show criwist at work without a cluster."""

from __future__ import annotations
