"""Fixtures of images that only a registry has, for the tests of the image service."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.engine import Engine
from tests.harness.registry import Registry


@pytest.fixture
def pushed_image(engine: Engine, registry: Registry) -> tuple[str, str]:
    """An image with the tag ``1`` that only the open registry has: its repository and its digest."""
    return push_new(engine, registry)


@pytest.fixture
def private_image(engine: Engine, private_registry: Registry) -> str:
    """The reference of an image that only the private registry has."""
    repository, _ = push_new(engine, private_registry)
    return f"{repository}:1"


@pytest.fixture
def clean_images(cri: CRI) -> Iterator[None]:
    """Remove the images that a test pulled or loaded."""
    yield
    cri.clean()
    for image in cri.images.ListImages(api.ListImagesRequest()).images:
        names = [*image.repo_tags, *image.repo_digests]
        if not any(name.startswith("criwist.test/") or "pause" in name for name in names):
            cri.remove_image(image.id)


def push_new(engine: Engine, registry: Registry, *tags: str) -> tuple[str, str]:
    """Push a new image with the tag ``1`` and all *tags*, and return its repository and its digest."""
    marker = uuid.uuid4().hex
    local = f"criwist.test/{marker}:1"
    images.load(engine, images.variant(marker).archive(local))
    repository = f"{registry.host}/{marker}"
    for tag in ("1", *tags):
        digest = images.push(engine, local, f"{repository}:{tag}", user=registry.user, password=registry.password)
    engine.delete(f"/images/{local}", force="1")
    return repository, digest
