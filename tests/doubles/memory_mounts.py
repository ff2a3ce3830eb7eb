"""Mounted image trees without a kernel: the double remembers its mounts, and a test names the files of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field
from zope.interface import implementer

from criwist.errors import CriwistError, FailedPrecondition, InvalidArgument
from criwist.interfaces.kernel import ILayerMounts


@implementer(ILayerMounts)
@define(eq=False)
class MemoryLayerMounts:
    """A double of ``kernel.layer_mounts.LayerMounts``.

    :param directory: the prefix of resolved paths.
    :param files: the paths in each layer.
    """

    directory: str
    files: Mapping[str, frozenset[str]] = field(factory=dict)
    #: Mount point to layers and label.
    trees: dict[str, tuple[tuple[str, ...], str]] = field(factory=dict)
    #: Raised by the next mounts, if set.
    fault: CriwistError | None = None

    async def mount(self, place: str, layers: Sequence[str], label: str) -> None:
        if self.fault is not None:
            raise self.fault
        if place in self.trees:
            raise AssertionError(f"something is mounted at {place}")
        missing = [layer for layer in layers if layer not in self.files]
        if missing:
            raise FailedPrecondition(f"layer {missing[0]} of the image cannot be opened here")
        self.trees[place] = tuple(layers), label

    async def unmount(self, place: str) -> None:
        self.trees.pop(place, None)

    async def resolve(self, place: str, sub_path: str) -> str:
        layers, _ = self.trees[place]
        if sub_path and not any(sub_path in self.files[layer] for layer in layers):
            raise InvalidArgument("image_sub_path", f"{sub_path!r} is not in the image")
        return "/".join(part for part in (self.directory, place, sub_path) if part)

    async def mounted(self) -> Mapping[str, str]:
        return {place: label for place, (_, label) in self.trees.items()}
