"""criwist: the CRI runtime of Kubernetes nodes whose containers live in Docker Engine."""

from __future__ import annotations

__version__ = "0.1.0"
