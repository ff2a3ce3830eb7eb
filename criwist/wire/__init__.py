"""Bytes understood once: sans-IO protocols, free of Twisted and of gRPC."""

from __future__ import annotations
