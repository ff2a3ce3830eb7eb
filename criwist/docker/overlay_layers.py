"""The directories in which the engine keeps an image's unpacked layers.

With the graph driver ``overlay2`` an inspected image names its directories: ``GraphDriver.Data.UpperDir`` is the top
layer, ``LowerDir`` the others from top to bottom, absent if there are none.  With the containerd image store the API
names no directories, and its snapshots come and go; newer engines mount images themselves
(:data:`~criwist.engine_differences.IMAGE_MOUNTS`).
"""

from __future__ import annotations

from criwist.engine_differences import IMAGE_MOUNTS
from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import JSONObject

_OVERLAY2 = "overlay2"


def overlay_layers(inspected: JSONObject) -> tuple[str, ...]:
    """Return the directories of an inspected image's layers, top layer first.

    :raises FailedPrecondition: the engine uses another storage driver, or names no directory.
    """
    driver = inspected.get("GraphDriver") or {}
    name = driver.get("Name") or "the containerd image store"
    if name != _OVERLAY2:
        raise FailedPrecondition(
            f"image volumes: the engine stores images with {name}; they need the storage driver {_OVERLAY2}, or "
            f"{IMAGE_MOUNTS.requirement}, which mounts images itself"
        )
    data = driver.get("Data") or {}
    upper, lower = data.get("UpperDir") or "", data.get("LowerDir") or ""
    if not upper:
        raise FailedPrecondition(
            f"image volumes: the engine names no directory for the layers of {inspected.get('Id')}"
        )
    return (upper, *(layer for layer in lower.split(":") if layer))
