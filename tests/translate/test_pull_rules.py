"""Which PullImage requests are refused."""

from __future__ import annotations

import pytest

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.translate.request_rules import check_request


def test_pull_without_a_sandbox() -> None:
    """A pull needs an image's name; the pod that the image is for may be left out, as crictl does."""
    check_request(pb.PullImageRequest(image=pb.ImageSpec(image="registry.example/app:1")))


def test_pull_for_a_malformed_sandbox() -> None:
    """A sandbox configuration that is given is checked like that of RunPodSandbox."""
    request = pb.PullImageRequest(image=pb.ImageSpec(image="app"), sandbox_config=pb.PodSandboxConfig())
    with pytest.raises(InvalidArgument, match=r"^sandbox_config\."):
        check_request(request)
