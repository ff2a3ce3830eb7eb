"""Control groups: version 1, version 2 and hybrid."""

from __future__ import annotations
