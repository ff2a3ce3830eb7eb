"""Sessions over any carrier: exec and attach, port-forward."""

from __future__ import annotations
