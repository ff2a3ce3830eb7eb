"""Logs from Docker's own log files."""

from __future__ import annotations
