"""The image volume at a host path."""

from __future__ import annotations

from attrs import frozen


@frozen
class ImageVolume:
    """An image, or a part of it, that is mounted at a host path."""

    image_id: str
    #: Without symbolic links; ``""``: the whole image.
    sub_path: str
