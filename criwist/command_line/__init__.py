"""The command line: the options, their table, and how their values are read."""

from __future__ import annotations
