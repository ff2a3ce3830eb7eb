"""The pause program, which holds a pod's namespaces, and its image."""

from __future__ import annotations
