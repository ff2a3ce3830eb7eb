"""Sessions over any carrier: remote commands (exec and attach) and port-forward."""

from __future__ import annotations
