"""Commands in containers: ExecSync, and the processes behind exec and attach streams."""

from __future__ import annotations
