"""The CRI log file: opened safely, appended to, reopened, and resumed after a restart."""

from __future__ import annotations
