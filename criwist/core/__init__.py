"""What a CRI runtime does: no bytes, no HTTP, no gRPC."""

from __future__ import annotations
