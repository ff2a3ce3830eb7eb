"""Docker's own log files as the source of a CRI log."""

from __future__ import annotations
