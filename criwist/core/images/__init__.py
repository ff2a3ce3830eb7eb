"""The RPCs of images, and the copy of the engine's images."""

from __future__ import annotations
