"""The pause program that holds a pod's namespaces, and the image it is shipped as."""

from __future__ import annotations
