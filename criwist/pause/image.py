"""criwist's own pause image, so that a node needs no registry for its sandboxes.

``tools/build_pause.py`` builds the programs from ``pause.c``.  The reference has a version of its own, which changes
with the program and not with criwist: an engine that has the image keeps it through criwist's updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from criwist.errors import Unimplemented
from criwist.pause.archive import Entry, Image

#: The image's name in the engine.  No registry can serve it: ``invalid`` is nobody's domain (RFC 2606).  Whoever may
#: use the engine can still give it to another image, so the image is known by its content (:func:`is_pause_image`).
PAUSE_REFERENCE = "criwist.invalid/pause:1.0"

#: Architectures as the engine's /version (Go's names) and its /info (the kernel's names) call them.
_ARCHITECTURES = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


@cache
def pause_image(architecture: str) -> Image:
    """Return the pause image for an engine of this architecture, ``amd64`` or ``x86_64`` style.

    :raises Unimplemented: there is no pause program for it; the text names the option that helps.
    """
    name = _ARCHITECTURES.get(architecture)
    if name is None:
        raise Unimplemented(
            f"criwist has no pause image for an engine of architecture {architecture!r}: name one with the option "
            "--pod-infra-container-image"
        )
    program = files("criwist.pause").joinpath(f"pause-{name}").read_bytes()
    return Image((Entry("pause", program, mode=0o755),), name, {"Entrypoint": ["/pause"], "WorkingDir": "/"})


def pause_archive(architecture: str) -> bytes:
    """Return the archive that ``IDocker.load_image`` loads as ``PAUSE_REFERENCE``; the same bytes on every call."""
    return pause_image(architecture).archive(PAUSE_REFERENCE)


def is_pause_image(inspected: Mapping[str, Any], architecture: str) -> bool:
    """Return whether an inspected image has the content of the pause image.

    Its id tells that on engines with a graph driver.  With the containerd image store an id is that of a manifest,
    which the engine writes; there the one layer, and a configuration of nothing but the entrypoint, tell it.

    :raises Unimplemented: see :func:`pause_image`.
    """
    image = pause_image(architecture)
    if inspected.get("Id") == image.id:
        return True
    config = {key: value for key, value in (inspected.get("Config") or {}).items() if value}
    layers = (inspected.get("RootFS") or {}).get("Layers")
    return layers == [image.layer_id] and config == image.config
