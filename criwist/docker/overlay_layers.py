"""Where the engine keeps an image's layers, unpacked.

With the graph driver ``overlay2`` an inspected image names its directories: ``GraphDriver.Data.UpperDir`` is the top
layer, ``LowerDir`` the others from top to bottom, absent if there are none.  With the containerd image store there is
no such thing in the API, and its snapshots come and go; those engines mount images themselves from API 1.48 on.
"""

from __future__ import annotations

from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import JSONObject

_OVERLAY2 = "overlay2"


def overlay_layers(inspected: JSONObject) -> tuple[str, ...]:
    """The directories of an inspected image's layers, top layer first.

    :raises FailedPrecondition: the engine keeps them in another way, or does not say.
    """
    driver = inspected.get("GraphDriver") or {}
    name = driver.get("Name") or "the containerd image store"
    if name != _OVERLAY2:
        raise FailedPrecondition(
            f"image volumes: the engine keeps images with {name}; it takes the storage driver overlay2, or an engine "
            "with API 1.48 (Docker 28), which mounts images itself"
        )
    data = driver.get("Data") or {}
    upper, lower = data.get("UpperDir") or "", data.get("LowerDir") or ""
    if not upper:
        raise FailedPrecondition(
            f"image volumes: the engine does not say where the layers of {inspected.get('Id')} are"
        )
    return (upper, *(layer for layer in lower.split(":") if layer))
