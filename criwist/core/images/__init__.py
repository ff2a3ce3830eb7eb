"""The RPCs of images, and the cache of the engine's images."""

from __future__ import annotations
