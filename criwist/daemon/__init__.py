"""The process around the runtime: its log, and its notifications to systemd."""

from __future__ import annotations
