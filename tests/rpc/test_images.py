"""The RPCs of images: ``criwist.rpc.images``."""

from __future__ import annotations

import shutil

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.not_ready import NotReady
from criwist.rpc.images import ImageService
from tests.core.memory_node import MemoryNode


class FreshnessTests(SynchronousTestCase):
    """What is answered before the engine's images are listed."""

    def test_reads_wait_for_the_first_listing(self) -> None:
        """Before the first listing no image is counted, listed or denied: the caller waits."""
        node = MemoryNode()
        self.addCleanup(shutil.rmtree, node.root)
        service = ImageService(node.core.images, node.core.cache)
        self.assertRaises(NotReady, service.ImageFsInfo, pb.ImageFsInfoRequest())
        self.assertRaises(NotReady, service.ListImages, pb.ListImagesRequest())
        self.assertRaises(NotReady, service.ImageStatus, pb.ImageStatusRequest(image=pb.ImageSpec(image="busybox")))
