"""Names of block devices, from ``/sys/dev/block``, which is memory of the kernel."""

from __future__ import annotations

import re

from criwist.kernel.procfs import read_text

SYS = "/sys"
_NAME = re.compile(r"^DEVNAME=([\w/!.-]+)$", re.MULTILINE)


def device_name(major: int, minor: int, sys: str = SYS) -> str:
    """Return the device's path, ``/dev/vda``; ``major:minor`` if the kernel has no such device, as for btrfs."""
    match = _NAME.search(read_text(f"{sys}/dev/block/{major}:{minor}/uevent") or "")
    return f"/dev/{match[1]}" if match else f"{major}:{minor}"
