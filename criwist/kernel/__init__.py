"""What the kernel says and is told: cgroups, /proc, namespaces, mounts."""

from __future__ import annotations
