"""Image volumes on engines that cannot mount images themselves (before API 1.48).

Each image volume of a container is a tree of its own, mounted when the container is created and taken away when it
is removed.  The engine does not know of it, so it would remove the image, and the layers beneath the tree with it:
:meth:`ImageVolumes.in_use` says which images RemoveImage has to spare.  Against ``docker rmi`` by hand that does not
help: the engine removes the layers, and the volume is empty from then on.

What is mounted is known from the kernel, not from a record: :meth:`ImageVolumes.take_stock` reads it at the start, and
:meth:`ImageVolumes.reconcile` takes away what belonged to containers that are gone, a crash of ours between mount and
create included.
"""

from __future__ import annotations

from collections.abc import Container

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from criwist.core.state.image_volume import ImageVolume
from criwist.docker.overlay_layers import overlay_layers
from criwist.errors import CriwistError, InvalidArgument
from criwist.interfaces.engine import IDocker
from criwist.interfaces.kernel import ILayerMounts


@define(eq=False)
class ImageVolumes:
    """The image volumes of this node's containers.

    Calls for one container must not overlap; those for different ones may.

    :param directory: where *mounts* mounts.
    """

    _docker: IDocker
    _mounts: ILayerMounts
    _directory: str
    #: Place to image id, of trees that stand, and of those that are being mounted.
    _mounted: dict[str, str] = field(factory=dict, init=False)
    _wanted: dict[str, str] = field(factory=dict, init=False)
    _log = Logger()

    async def prepare(self, container: str, index: int, image_id: str, sub_path: str = "") -> str:
        """Mount an image for a container that is to be created; returns the host path to bind, read-only.

        Idempotent; what another image left at this place is taken away first.

        :param container: the Docker name that the container will have.
        :param index: tells the volumes of one container apart.
        :raises NotFound: no such image.
        :raises FailedPrecondition: the engine keeps no layers that could be mounted, or not on this machine.
        :raises InvalidArgument: the image has no *sub_path*.  The image stays mounted until :meth:`release`.
        """
        place = _place(container, index)
        if self._mounted.get(place) != image_id:
            self._wanted[place] = image_id
            try:
                await self._mounts.unmount(place)
                self._mounted.pop(place, None)
                layers = overlay_layers(await self._docker.inspect_image(image_id))
                await self._mounts.mount(place, layers, image_id)
            except (CriwistError, CancelledError):
                await self._take_away(place)
                raise
            self._mounted[place] = self._wanted.pop(place)
        return await self._mounts.resolve(place, sub_path)

    async def release(self, container: str) -> None:
        """Take away all trees of a container that is removed, or was never created.  Idempotent."""
        for place in [place for place in self._mounted if _container(place) == container]:
            await self._take_away(place)

    async def take_stock(self) -> None:
        """Read what is mounted; to be awaited before anybody asks :meth:`volume_at`."""
        self._mounted.update(await self._mounts.mounted())

    async def reconcile(self, known: Container[str]) -> None:
        """Take stock, and take away what belongs to no container in *known*, by Docker name.

        To be called before anything is prepared.  A tree that cannot be taken away is told and stays in use.
        """
        await self.take_stock()
        for place in [place for place in self._mounted if _container(place) not in known]:
            container = _container(place)
            try:
                await self._take_away(place)
                self._log.info("an image volume that {container} left was unmounted", container=container)
            except CriwistError as error:
                self._log.warn("an image volume that {container} left: {error}", container=container, error=str(error))

    def in_use(self) -> frozenset[str]:
        """Ids of the images that are mounted, or about to be."""
        return frozenset(self._mounted.values()) | frozenset(self._wanted.values())

    def volume_at(self, host_path: str) -> ImageVolume | None:
        """What is mounted at a path that :meth:`prepare` returned; None if it did not, or if that is released."""
        prefix = self._directory.rstrip("/") + "/"
        if not host_path.startswith(prefix):
            return None
        container, number, inside, *_ = [*host_path[len(prefix) :].split("/", 2), "", ""]
        image_id = self._mounted.get(f"{container}/{number}")
        return None if image_id is None else ImageVolume(image_id, inside)

    async def _take_away(self, place: str) -> None:
        await self._mounts.unmount(place)
        self._mounted.pop(place, None)
        self._wanted.pop(place, None)


def _container(place: str) -> str:
    return place.rpartition("/")[0]


def _place(container: str, index: int) -> str:
    if container in ("", ".", "..") or "/" in container or "\0" in container:
        raise InvalidArgument("container", f"{container!r} is no name of a container")
    return f"{container}/{index}"
