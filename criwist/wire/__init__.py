"""Sans-IO protocols: each format is parsed in one place, without Twisted and without gRPC."""

from __future__ import annotations
