"""Files and system calls of the kernel: cgroups, /proc, namespaces, mounts."""

from __future__ import annotations
