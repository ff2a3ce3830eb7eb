"""The client of the Docker Engine API."""

from __future__ import annotations
