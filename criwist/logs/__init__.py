"""CRI log files, converted from Docker's own logs."""

from __future__ import annotations
