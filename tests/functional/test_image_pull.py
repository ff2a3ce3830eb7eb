"""PullImage: tags and digests, and the credentials of private registries."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import grpc
import pytest

from tests.functional.pushed_images import push_new
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.engine import Engine
from tests.harness.registry import Registry
from tests.harness.slow_registry import SlowRegistry

pytestmark = pytest.mark.usefixtures("clean_images")
#: Tests that depend on the engine's image store run on the containerd image store too.
_ON_CONTAINERD = pytest.mark.newer_engines("docker-26-containerd", "docker-28-containerd")
_DENIED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNKNOWN)


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_pull_by_tag(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """A pull returns the id of the image; ImageStatus finds the image by its tag and has its digest."""
    repository, digest = pushed_image
    image_ref = cri.pull(f"{repository}:1")
    image = cri.image(f"{repository}:1")
    assert image is not None
    assert image_ref == image.id
    assert list(image.repo_tags) == [f"{repository}:1"]
    assert list(image.repo_digests) == [f"{repository}@{digest}"]
    assert image.size > 0


@_ON_CONTAINERD
@pytest.mark.second_opinion
def test_pull_by_digest(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """An image that was pulled by digest has no tag; ImageStatus finds it by that digest."""
    repository, digest = pushed_image
    image_ref = cri.pull(f"{repository}@{digest}")
    image = cri.image(f"{repository}@{digest}")
    assert image is not None
    assert image.id == image_ref
    assert list(image.repo_tags) == []
    assert list(image.repo_digests) == [f"{repository}@{digest}"]


@pytest.mark.second_opinion
def test_pull_without_tag_means_latest(cri: CRI, engine: Engine, registry: Registry) -> None:
    """A name without a tag pulls the tag ``latest``, and no other tag."""
    repository, _ = push_new(engine, registry, "latest")
    cri.pull(repository)
    image = cri.image(repository)
    assert image is not None
    assert list(image.repo_tags) == [f"{repository}:latest"]
    assert cri.image(f"{repository}:1") is None


@pytest.mark.second_opinion
def test_pulled_image_runs(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """A container runs from a pulled image, named by the id that the pull returned."""
    image_ref = cri.pull(f"{pushed_image[0]}:1")
    _, container_id = cri.run_in_pod(image=image_ref)
    assert cri.output(container_id, "echo", "runs") == "runs\n"


@pytest.mark.second_opinion
def test_pull_again(cri: CRI, pushed_image: tuple[str, str]) -> None:
    """Pulling an image again succeeds and returns the same id."""
    assert cri.pull(f"{pushed_image[0]}:1") == cri.pull(f"{pushed_image[0]}:1")


@pytest.mark.second_opinion
def test_pull_of_a_moved_tag(cri: CRI, engine: Engine, registry: Registry) -> None:
    """After a pull of a tag that moved in the registry, the tag names the new image."""
    repository, _ = push_new(engine, registry)
    first = cri.pull(f"{repository}:1")
    marker = uuid.uuid4().hex
    images.load(engine, images.variant(marker).archive("criwist.test/moved:1"))
    images.push(engine, "criwist.test/moved:1", f"{repository}:1")
    engine.delete("/images/criwist.test/moved:1", force="1")
    second = cri.pull(f"{repository}:1")
    assert second != first
    image = cri.image(f"{repository}:1")
    assert image is not None
    assert image.id == second


@pytest.mark.second_opinion
def test_pull_of_an_absent_image(cri: CRI, registry: Registry) -> None:
    """Pulling a repository that the registry does not have fails with NOT_FOUND and names it."""
    reference = f"{registry.host}/absent:1"
    text = refused(lambda: cri.pull(reference), grpc.StatusCode.NOT_FOUND)
    assert f"{registry.host}/absent" in text


@pytest.mark.second_opinion
@pytest.mark.parametrize("form", ["password", "auth", "server"])
def test_pull_with_credentials(cri: CRI, private_image: str, private_registry: Registry, form: str) -> None:
    """Credentials are user and password, or base64 of both, or user and password with the registry's address."""
    user, password = private_registry.user, private_registry.password
    auths: dict[str, dict[str, Any]] = {
        "password": {"username": user, "password": password},
        "auth": {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()},
        "server": {"username": user, "password": password, "server_address": f"http://{private_registry.host}"},
    }
    cri.pull(private_image, **auths[form])
    assert cri.image(private_image) is not None


@pytest.mark.second_opinion
@pytest.mark.parametrize("auth", [{}, {"username": "user", "password": "wrong"}], ids=["none", "wrong"])
def test_pull_without_the_right_credentials(cri: CRI, private_image: str, auth: dict[str, Any]) -> None:
    """A pull from a private registry fails without credentials and with a wrong password."""
    refused(lambda: cri.pull(private_image, **auth), *_DENIED)
    assert cri.image(private_image) is None


def test_refused_credentials_have_their_code(cri: CRI, private_image: str) -> None:
    """A pull without the needed credentials fails with PERMISSION_DENIED; containerd returns UNKNOWN."""
    refused(lambda: cri.pull(private_image), grpc.StatusCode.PERMISSION_DENIED)


def test_malformed_auth(cri: CRI, private_image: str) -> None:
    """An ``auth`` that is not base64 of user:password fails with INVALID_ARGUMENT; the text has no secret."""
    for auth in ("&&&", base64.b64encode(b"no-colon-secret").decode()):
        text = refused(lambda auth=auth: cri.pull(private_image, auth=auth), grpc.StatusCode.INVALID_ARGUMENT)  # type: ignore[misc]
        assert "auth" in text
        assert auth not in text
        assert "no-colon-secret" not in text


@pytest.mark.newer_engines("docker-26", "docker-28")
@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (404, "MANIFEST_UNKNOWN", grpc.StatusCode.NOT_FOUND),
        (429, "TOOMANYREQUESTS", grpc.StatusCode.UNAVAILABLE),
        (400, "UNSUPPORTED", grpc.StatusCode.INTERNAL),
    ],
)
def test_a_registry_that_refuses(
    status: int, code: str, wanted: grpc.StatusCode, cri: CRI, slow_registry: SlowRegistry
) -> None:
    """What a registry answers without details has a code that tells what to do, and the error names the image."""
    slow_registry.status, slow_registry.code, slow_registry.message = status, code, code.replace("_", " ").lower()
    reference = f"{slow_registry.host}/{uuid.uuid4().hex}:1"
    text = refused(lambda: cri.pull(reference), wanted)
    assert reference in text
    assert text.startswith("RegistryUnavailable: ") == (status == 429)
