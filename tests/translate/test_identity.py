"""Which pod and container an inspected container is, whatever its name and its image say."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from criwist import labels
from criwist.translate.identity import identity

NAME = "k8s_main_web_default_uid_1"
SANDBOX_NAME = "k8s_POD_web_default_uid_0"


def inspected(docker_labels: dict[str, str], *, name: str = NAME, ipc: str = "container:abc") -> dict[str, Any]:
    """An inspected container."""
    return {"Name": f"/{name}", "Config": {"Labels": docker_labels}, "HostConfig": {"IpcMode": ipc}}


def own_labels(image_labels: dict[str, str] | None = None) -> dict[str, str]:
    """The labels of a container that criwist made of an image with these labels."""
    own = labels.container_labels(
        {"app": "web"}, {"note": "n"}, name=NAME, sandbox_id="abc", log_path="/l", user_image="", cgroup=""
    )
    return {**(image_labels or {}), **own}


class IdentityTests(SynchronousTestCase):
    """Names, labels, and what neither can forge."""

    def test_renamed(self) -> None:
        """A renamed container, and a renamed sandbox, is what it was created as."""
        for other in ("mine", "k8s_main_other_default_uid_7"):
            self.assertEqual(str(identity(inspected(own_labels(), name=other), recorded=False)), NAME)
            sandbox = inspected(labels.sandbox_labels({}, {}, name=SANDBOX_NAME), name=other, ipc="shareable")
            self.assertEqual(str(identity(sandbox, recorded=True)), SANDBOX_NAME)

    def test_run_by_hand(self) -> None:
        """A container that Docker alone runs is no pod's, whatever labels its image has."""
        for forged in (own_labels(), labels.sandbox_labels({}, {}, name=SANDBOX_NAME)):
            self.assertIsNone(identity(inspected(forged, name="mine", ipc="private"), recorded=False))

    def test_older_shims(self) -> None:
        """A container of an older shim is what its name says; renamed, what kubelet's labels say."""
        theirs = {
            labels.TYPE: labels.CONTAINER,
            labels.SANDBOX_ID: "abc",
            labels.CONTAINER_NAME: "main",
            "io.kubernetes.pod.name": "web",
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": "uid",
            "annotation.io.kubernetes.container.restartCount": "1",
        }
        for name in (NAME, "mine"):
            self.assertEqual(str(identity(inspected(theirs, name=name), recorded=False)), NAME)
        self.assertIsNone(
            identity(inspected({labels.TYPE: labels.CONTAINER, labels.SANDBOX_ID: "abc"}, name="x"), recorded=False)
        )

    def test_others(self) -> None:
        """Without the label of the shims, a name alone makes no pod."""
        self.assertIsNone(identity(inspected({}), recorded=False))
        self.assertIsNone(identity(inspected({labels.TYPE: "other"}), recorded=False))


class RequestedLabelsTests(SynchronousTestCase):
    """What the CRI is told of labels and annotations."""

    def test_labels_of_the_image(self) -> None:
        """They are not the request's, under whatever key they are."""
        forged = {
            "maintainer": "x",
            "annotation.io.kubernetes.container.preStopHandler": "{}",
            "note": "y",
            labels.USER_IMAGE: "other",
            labels.CGROUP: "x",
            labels.REQUESTED: '["maintainer"]',
        }
        self.assertEqual(labels.cri_labels(own_labels(forged)), ({"app": "web"}, {"note": "n"}))

    def test_a_list_that_is_none(self) -> None:
        """A container of an older shim has no list, or one that its image brings: all labels are shown."""
        for text in ("", "x", "1", "[1]", "{}"):
            self.assertEqual(labels.cri_labels({"app": "web", labels.REQUESTED: text}), ({"app": "web"}, {}), text)
