"""The pause image that criwist brings along, so that a node needs no registry for its sandboxes.

The programs are built from ``pause.c`` by ``tools/build_pause.py``.  The reference bears a version of its own, which
changes with the program and not with criwist: an engine that has the image keeps it through criwist's updates.
"""

from __future__ import annotations

from importlib.resources import files

from criwist.errors import Unimplemented
from criwist.pause.archive import Entry, Image

#: What the image is called in the engine.
PAUSE_REFERENCE = "criwist/pause:1.0"

#: Architectures as the engine's /version (Go's names) and its /info (the kernel's names) call them.
_ARCHITECTURES = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


def pause_image(architecture: str) -> Image:
    """The pause image for an engine of this architecture, ``amd64`` or ``x86_64`` style.

    An architecture that there is no pause program for: ``Unimplemented``, with the way out.
    """
    name = _ARCHITECTURES.get(architecture)
    if name is None:
        raise Unimplemented(
            f"criwist brings no pause image for an engine of architecture {architecture!r}: name one with the option "
            "--pod-infra-container-image"
        )
    program = files("criwist.pause").joinpath(f"pause-{name}").read_bytes()
    return Image((Entry("pause", program, mode=0o755),), name, {"Entrypoint": ["/pause"], "WorkingDir": "/"})


def pause_archive(architecture: str) -> bytes:
    """What ``IDocker.load_image`` takes to make ``PAUSE_REFERENCE`` exist; the same bytes on every call."""
    return pause_image(architecture).archive(PAUSE_REFERENCE)
