"""Image volumes on engines that cannot mount images themselves (before API 1.48).

Each image volume of a container is a tree of its own, mounted when the container is created and unmounted when it is
removed.  The engine does not know the tree, so it would remove the image, and the layers below the tree with it.
RemoveImage therefore keeps the images that :meth:`ImageVolumes.in_use` returns.  ``docker rmi`` by hand does remove the
layers; the volume is empty from then on.

The kernel, not a record, keeps the list of mounts.  :meth:`ImageVolumes.read_mounts` reads it at the start, and
:meth:`ImageVolumes.reconcile` unmounts the trees of containers that do not exist any more, also after a crash between
mount and create.
"""

from __future__ import annotations

from collections.abc import Container

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from criwist.core.state.image_volume import ImageVolume
from criwist.errors import CriwistError, InvalidArgument
from criwist.interfaces.engine import IDocker
from criwist.interfaces.kernel import ILayerMounts


@define(eq=False)
class ImageVolumes:
    """The image volumes of this node's containers.

    Calls for one container must not overlap; those for different ones may.

    :param directory: the directory in which *mounts* mounts.
    """

    _docker: IDocker
    _mounts: ILayerMounts
    _directory: str
    #: Place to image id, of mounted trees, and of those that are being mounted.
    _mounted: dict[str, str] = field(factory=dict, init=False)
    _mounting: dict[str, str] = field(factory=dict, init=False)
    _log = Logger()

    async def prepare(self, container: str, index: int, image_id: str, sub_path: str = "") -> str:
        """Mount an image for a container that will be created; return the host path to bind, read-only.

        Idempotent; a tree of another image at this place is unmounted first.

        :param container: the Docker name that the container will have.
        :param index: distinguishes the volumes of one container.
        :raises NotFound: no such image.
        :raises FailedPrecondition: the engine has no layers that could be mounted, or not on this machine.
        :raises InvalidArgument: the image has no *sub_path*.  The image stays mounted until :meth:`release`.
        """
        place = _place(container, index)
        if self._mounted.get(place) != image_id:
            self._mounting[place] = image_id
            try:
                await self._mounts.unmount(place)
                self._mounted.pop(place, None)
                layers = await self._docker.image_layers(image_id)
                await self._mounts.mount(place, layers, image_id)
            except (CriwistError, CancelledError):
                await self._unmount(place)
                raise
            self._mounted[place] = self._mounting.pop(place)
        return await self._mounts.resolve(place, sub_path)

    async def release(self, container: str) -> None:
        """Unmount all trees of a container that is removed, or was never created.  Idempotent."""
        for place in [place for place in self._mounted if _container(place) == container]:
            await self._unmount(place)

    async def read_mounts(self) -> None:
        """Read which trees are mounted.  Await it before :meth:`volume_at` is called."""
        self._mounted.update(await self._mounts.mounted())

    async def reconcile(self, known: Container[str]) -> None:
        """Read the mounts, and unmount the trees of containers that are not in *known*, by Docker name.

        Call it before anything is prepared.  A tree that cannot be unmounted is logged and stays in use.
        """
        await self.read_mounts()
        for place in [place for place in self._mounted if _container(place) not in known]:
            container = _container(place)
            try:
                await self._unmount(place)
                self._log.info("unmounted an image volume that {container} left", container=container)
            except CriwistError as error:
                self._log.warn(
                    "cannot unmount an image volume that {container} left: {error}",
                    container=container,
                    error=str(error),
                )

    def in_use(self) -> frozenset[str]:
        """Return the ids of the images that are mounted, or are being mounted."""
        return frozenset(self._mounted.values()) | frozenset(self._mounting.values())

    def volume_at(self, host_path: str) -> ImageVolume | None:
        """Return the image volume at a path that :meth:`prepare` returned; None for other and for released paths."""
        prefix = self._directory.rstrip("/") + "/"
        if not host_path.startswith(prefix):
            return None
        container, number, inside, *_ = [*host_path[len(prefix) :].split("/", 2), "", ""]
        image_id = self._mounted.get(f"{container}/{number}")
        return None if image_id is None else ImageVolume(image_id, inside)

    async def _unmount(self, place: str) -> None:
        await self._mounts.unmount(place)
        self._mounted.pop(place, None)
        self._mounting.pop(place, None)


def _container(place: str) -> str:
    return place.rpartition("/")[0]


def _place(container: str, index: int) -> str:
    if container in ("", ".", "..") or "/" in container or "\0" in container:
        raise InvalidArgument("container", f"{container!r} is not a container's name")
    return f"{container}/{index}"
