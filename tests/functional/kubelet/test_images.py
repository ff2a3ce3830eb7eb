"""Images that kubelet pulls, and what it does when it cannot."""

from __future__ import annotations

import pytest

from tests.harness.kubelet import Kubelet, manifest, status, waiting

pytestmark = pytest.mark.second_opinion


def test_missing_image(kubelet: Kubelet) -> None:
    """A container whose image cannot be pulled waits: first with the error, then until kubelet tries again."""
    reference = "127.0.0.1:1/missing:1"
    name = kubelet.apply(manifest(image=reference))
    kubelet.wait_for(name, lambda pod: waiting(pod).get("reason") == "ImagePullBackOff")
    events = kubelet.events(name)
    assert any(reason == "Failed" and reference in message for reason, message in events)
    assert ("Pulling", f'Pulling image \\"{reference}\\"') in events


def test_pull_error(kubelet: Kubelet) -> None:
    """The runtime's words about a failed pull are the container's message."""
    pod = kubelet.run_pod(
        manifest(image="127.0.0.1:1/refused:1"), until=lambda pod: waiting(pod).get("reason") == "ErrImagePull"
    )
    assert "refused" in waiting(pod)["message"]


def test_never_pulled(kubelet: Kubelet) -> None:
    """With the policy Never a missing image is not pulled."""
    name = kubelet.apply(manifest(image="criwist.test/missing:1", imagePullPolicy="Never"))
    kubelet.wait_for(name, lambda pod: waiting(pod).get("reason") == "ErrImageNeverPull")
    assert "Pulling" not in dict(kubelet.events(name))


def test_invalid_name(kubelet: Kubelet) -> None:
    """An image name that is none is reported as such."""
    name = kubelet.apply(manifest(image="Not//Valid"))
    kubelet.wait_for(name, lambda pod: waiting(pod).get("reason") == "InvalidImageName")


def test_pulled_image(kubelet: Kubelet, pushed_image: tuple[str, str]) -> None:
    """An image that only a registry has is pulled, and its digest is reported."""
    repository, digest = pushed_image
    pod = kubelet.run_pod(manifest(image=f"{repository}:1"))
    events = dict(kubelet.events(pod["metadata"]["name"]))
    assert {"Pulling", "Pulled"} <= events.keys()
    assert status(pod)["imageID"].endswith(f"{repository}@{digest}")
    kubelet.clear()
    kubelet.cri.remove_image(f"{repository}:1")


def test_present_image(kubelet: Kubelet) -> None:
    """An image that is there is not pulled, and its name and id are reported."""
    pod = kubelet.run_pod(manifest())
    assert "Pulled" in dict(kubelet.events(pod["metadata"]["name"]))
    assert "Pulling" not in dict(kubelet.events(pod["metadata"]["name"]))
    assert status(pod)["image"].endswith("criwist.test/busybox:1")
    assert "sha256:" in status(pod)["imageID"]
