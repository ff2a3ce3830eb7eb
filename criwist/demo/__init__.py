"""A small CRI client that runs one pod manifest, to see criwist at work without a cluster."""

from __future__ import annotations
