"""runtime.ImageService: one to five lines per RPC; ``core.images`` does the work."""

from __future__ import annotations

from attrs import define

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.images import Images
from criwist.core.images.snapshot import ImageSnapshot
from criwist.core.state.cache import Cache
from criwist.rpc.serving import from_snapshot, on_reactor, streamed


@define(eq=False)
class ImageService:
    """The RPCs about images; the same for every version of the API."""

    _images: Images
    _cache: Cache

    @from_snapshot
    def ListImages(self, request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        return pb.ListImagesResponse(images=self._fresh_images().list(request.filter.image.image))

    StreamImages = streamed(ListImages)

    @from_snapshot
    def ImageStatus(self, request: pb.ImageStatusRequest) -> pb.ImageStatusResponse:
        return self._fresh_images().response(request.image.image, verbose=request.verbose)

    @on_reactor(cancellable=True)
    async def PullImage(self, request: pb.PullImageRequest) -> pb.PullImageResponse:
        auth = request.auth if request.HasField("auth") else None
        return pb.PullImageResponse(image_ref=await self._images.pull(request.image, auth))

    @on_reactor()
    async def RemoveImage(self, request: pb.RemoveImageRequest) -> pb.RemoveImageResponse:
        await self._images.remove(request.image.image)
        return pb.RemoveImageResponse()

    @from_snapshot
    def ImageFsInfo(self, request: pb.ImageFsInfoRequest) -> pb.ImageFsInfoResponse:
        self._cache.current()  # before the first listing no image would be counted
        return self._images.filesystem()

    def _fresh_images(self) -> ImageSnapshot:
        """Return the images.  They are as fresh as the cache of containers: one event feed updates both."""
        self._cache.current()
        return self._images.snapshot
