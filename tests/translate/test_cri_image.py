"""Docker images as the CRI's: ``criwist.translate.image``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.translate.image import image, image_info, image_user, is_pinned

ENGINE: dict[str, Any] = json.loads((Path(__file__).parent / "engine-20.10.json").read_text("utf-8"))
INSPECTED: dict[str, Any] = ENGINE["image"]
SUMMARY: dict[str, Any] = ENGINE["image_summary"]
DIGEST = "local/busybox@sha256:" + "1" * 64


class ImageTests(SynchronousTestCase):
    """Inspected images and items of a list."""

    def test_inspected(self) -> None:
        """An inspected image has id, names, size and user."""
        cri = image(INSPECTED | {"RepoDigests": [DIGEST]}, pinned=True)
        self.assertEqual(cri.id, INSPECTED["Id"])
        self.assertEqual(sorted(cri.repo_tags), ["local/busybox:1", "other:2"])
        self.assertEqual(list(cri.repo_digests), [DIGEST])
        self.assertEqual(cri.size, INSPECTED["Size"])
        self.assertEqual(cri.uid, pb.Int64Value(value=1003))
        self.assertTrue(cri.pinned)

    def test_listed(self) -> None:
        """An item of a list gives the same image, except for the user, which lists lack."""
        listed, inspected = image(SUMMARY, pinned=False), image(INSPECTED, pinned=False)
        inspected.ClearField("uid")
        self.assertEqual(listed, inspected)

    def test_dangling(self) -> None:
        """An image without names has none, in each form in which engines write that."""
        for tags, digests in ((None, None), ([], []), (["<none>:<none>"], ["<none>@<none>"])):
            cri = image(SUMMARY | {"RepoTags": tags, "RepoDigests": digests}, pinned=False)
            self.assertEqual((list(cri.repo_tags), list(cri.repo_digests)), ([], []))
            self.assertEqual(cri.id, SUMMARY["Id"])

    def test_digest_among_the_tags(self) -> None:
        """A digest is not among the tags, where the containerd image store of Docker 28 has it, and appears once."""
        for digests in ([DIGEST], []):
            cri = image(SUMMARY | {"RepoTags": [DIGEST, "a:1"], "RepoDigests": digests}, pinned=False)
            self.assertEqual((list(cri.repo_tags), list(cri.repo_digests)), (["a:1"], [DIGEST]))

    def test_size(self) -> None:
        """The size is read under either name, and a value that is not a size is 0."""
        for sizes, size in (
            ({"Size": 5}, 5),
            ({"VirtualSize": 7}, 7),
            ({"Size": 5, "VirtualSize": 7}, 5),
            ({}, 0),
            ({"Size": -1}, 0),
        ):
            self.assertEqual(image({"Id": "sha256:1", **sizes}, pinned=False).size, size)

    def test_annotations(self) -> None:
        """Annotations of the manifest are in the spec if the engine reports them."""
        cri = image(INSPECTED | {"Descriptor": {"annotations": {"a": "b"}}}, pinned=False)
        self.assertEqual(cri.spec, pb.ImageSpec(image=INSPECTED["Id"], annotations={"a": "b"}))

    def test_info(self) -> None:
        """The verbose info is JSON with labels, configuration and history."""
        info = image_info(INSPECTED, history=[{"CreatedBy": "import"}])
        self.assertEqual(json.loads(json.dumps(info)), info)
        self.assertEqual(info["config"]["User"], "1003:users")
        self.assertEqual(info["history"], [{"CreatedBy": "import"}])
        self.assertEqual(info["platform"]["Os"], "linux")


@pytest.mark.parametrize(
    ("user", "uid", "name"),
    [
        ("", None, ""),
        ("0", 0, ""),
        ("1003", 1003, ""),
        ("1003:users", 1003, ""),
        ("www-data", None, "www-data"),
        ("www-data:1003", None, "www-data"),
        (":users", None, ""),
        ("-1", None, "-1"),
        ("٣", None, "٣"),
        (str(2**63 - 1), 2**63 - 1, ""),
        (str(2**63), None, str(2**63)),
        ("9" * 5000, None, "9" * 5000),
    ],
)
def test_image_user(user: str, uid: int | None, name: str) -> None:
    """A user is a number or else a name; the group is left out."""
    assert image_user(user) == (uid, name)


@pytest.mark.parametrize(
    ("pattern", "pinned"),
    [
        ("local/busybox:1", True),
        ("local/*", True),
        ("docker.io/local/busybox:*", True),
        ("*@sha256:1111*", True),
        (INSPECTED["Id"], True),
        ("busybox*", False),
        ("local/busybox", False),
        ("LOCAL/*", False),
        ("", False),
    ],
)
def test_pinned_by_pattern(pattern: str, pinned: bool) -> None:
    """Patterns are compared with tags, digests and the id, in Docker's short form and in full."""
    for document in (INSPECTED | {"RepoDigests": [DIGEST]}, SUMMARY | {"RepoDigests": [DIGEST]}):
        assert is_pinned(document, patterns=["nothing", pattern], labels=[]) is pinned


@pytest.mark.parametrize(
    ("label", "pinned"),
    [("keep", True), ("keep=yes", True), ("keep=no", False), ("keep=", False), ("lost", False), ("note=", True)],
)
def test_pinned_by_label(label: str, pinned: bool) -> None:
    """A label pins an image by its presence, or by its value."""
    own = {"keep": "yes", "note": ""}
    for document in (INSPECTED | {"Config": {"Labels": own}}, SUMMARY | {"Labels": own}):
        assert is_pinned(document, patterns=[], labels=[label]) is pinned


def test_pinned_whatever_its_name() -> None:
    """An image with a pinned id is pinned under any name."""
    assert is_pinned(SUMMARY, patterns=[], labels=[], always={SUMMARY["Id"]})
    assert not is_pinned(SUMMARY, patterns=[], labels=[], always={"sha256:1"})


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(INSPECTED)), st.none() | st.integers() | st.text() | st.lists(st.none())))
def test_any_answer(changes: dict[str, Any]) -> None:
    """Every document of an engine gives an image."""
    document = INSPECTED | changes
    assert image(document, pinned=is_pinned(document, patterns=["*x"], labels=["a"])).SerializeToString() is not None
    image_info(document, history=[])
