"""ImageFsInfo: the directory and the usage of the image store."""

from __future__ import annotations

import random
import shutil
import time
import uuid
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.pause.archive import Entry, Image
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.engine import Engine
from tests.harness.registry import Registry

pytestmark = pytest.mark.usefixtures("clean_images")
#: Directories of image stores: layers, and with the containerd image store also the content that was pulled.
_STORES = ("overlay2", "containerd/daemon/*.snapshotter.v1.overlayfs", "containerd/daemon/*.content.v1.content")


@pytest.mark.second_opinion
def test_image_file_system(cri: CRI) -> None:
    """ImageFsInfo returns an existing directory, and the bytes and inodes that images use."""

    def usage() -> api.FilesystemUsage:
        usage: api.FilesystemUsage
        (usage,) = cri.images.ImageFsInfo(api.ImageFsInfoRequest()).image_filesystems
        assert usage.inodes_used.value > 0
        return usage

    counted = eventually(usage, within=15)  # containerd measures every ten seconds
    assert Path(counted.fs_id.mountpoint).is_dir()
    assert counted.used_bytes.value > 1_000_000
    assert abs(counted.timestamp - time.time_ns()) < 60 * 1_000_000_000


@pytest.mark.newer_engines
def test_usage_matches_the_disk(cri: CRI, engine_of_cri: Engine) -> None:
    """ImageFsInfo returns quickly, and its usage is near to the image store's size on disk."""
    request = api.ImageFsInfoRequest()
    began = time.monotonic()
    (usage,) = cri.images.ImageFsInfo(request).image_filesystems
    assert time.monotonic() - began < scaled(5)
    data = engine_of_cri.root / "data"
    stores = [store for pattern in _STORES for store in data.glob(pattern)]
    assert Path(usage.fs_id.mountpoint) in stores
    assert any(Path(usage.fs_id.mountpoint).rglob("busybox"))
    size = sum(entry.lstat().st_blocks * 512 for place in _image_places(engine_of_cri) for entry in place.rglob("*"))
    assert 0.5 * size < usage.used_bytes.value < 2 * size
    assert shutil.disk_usage(data).used >= usage.used_bytes.value


def _image_places(engine: Engine) -> set[Path]:
    """Return the directories that hold the engine's images: their layers, or the whole store of containerd.

    The other directories of overlay2 are layers of containers, and of pulls that were given up.
    """
    layers = set()
    for item in engine.get("/images/json"):
        driver = engine.get(f"/images/{item['Id']}/json").get("GraphDriver") or {}
        directories = driver.get("Data") or {}
        if driver.get("Name") == "overlay2":
            layers |= {directories["UpperDir"], *filter(None, directories.get("LowerDir", "").split(":"))}
    if layers:
        return {Path(layer) for layer in layers}
    return {store for pattern in _STORES[1:] for store in (engine.root / "data").glob(pattern)}


@pytest.mark.newer_engines
def test_usage_follows_images(cri: CRI, engine: Engine, registry: Registry) -> None:
    """Pulling an image adds the size of its new layer to the usage; removing it subtracts the same."""

    def used() -> int:
        (usage,) = cri.images.ImageFsInfo(api.ImageFsInfoRequest()).image_filesystems
        return int(usage.used_bytes.value)

    marker = uuid.uuid4().hex
    own = Entry("own", random.Random(marker).randbytes(5_000_000))
    image = Image((*images.busybox_files(), own), images.architecture(), {"Cmd": ["sh"]})
    images.load(engine, image.archive(f"criwist.test/{marker}:1"))
    reference = f"{registry.host}/{marker}:1"
    images.push(engine, f"criwist.test/{marker}:1", reference)
    engine.delete(f"/images/criwist.test/{marker}:1", force="1")
    eventually(lambda: cri.image(f"criwist.test/{marker}:1") is None)
    before = used()
    cri.pull(reference)
    assert 5_000_000 <= used() - before <= 20_000_000
    cri.remove_image(reference)
    assert used() == before
