"""The seams: what the core expects of its adapters, and the values that cross them."""

from __future__ import annotations
