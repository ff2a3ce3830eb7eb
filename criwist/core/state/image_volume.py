"""An image volume as its host path identifies it."""

from __future__ import annotations

from attrs import frozen


@frozen
class ImageVolume:
    """An image volume, as its host path tells it."""

    image_id: str
    #: Free of links; ``""``: the whole image.
    sub_path: str
