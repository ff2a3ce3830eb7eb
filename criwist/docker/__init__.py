"""The one Docker Engine API client."""

from __future__ import annotations
