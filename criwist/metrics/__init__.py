"""criwist's metrics for Prometheus: counted by the parts, read at a scrape, served on an address of their own."""

from __future__ import annotations
