"""The packages of the CRI runtime API."""

from __future__ import annotations
