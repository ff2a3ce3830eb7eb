"""The command line: the options, their table, and the parsers of their values."""

from __future__ import annotations
