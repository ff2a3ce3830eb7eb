"""``runtime.v1alpha2``, the only service names of kubelet 1.19 to 1.22, with the same messages."""

from __future__ import annotations

from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import scaled

pytestmark = pytest.mark.second_opinion


def _call(cri: CRI, method: str, request: Any, response: type[Any], service: str = "RuntimeService") -> Any:
    call = cri.channel.unary_unary(
        f"/runtime.v1alpha2.{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    return call(request, timeout=scaled(60))


def test_version(cri: CRI) -> None:
    """Version returns the older API version."""
    response = _call(cri, "Version", api.VersionRequest(), api.VersionResponse)
    assert (response.version, response.runtime_api_version) == ("0.1.0", "v1alpha2")


def test_both_names_see_the_same(cri: CRI) -> None:
    """One service lists, stops and removes a pod that the other created."""
    request = api.RunPodSandboxRequest(config=cri.pod())
    pod_id = _call(cri, "RunPodSandbox", request, api.RunPodSandboxResponse).pod_sandbox_id
    assert cri.pod_ids() == [pod_id]
    other = cri.run_pod()
    listed = _call(cri, "ListPodSandbox", api.ListPodSandboxRequest(), api.ListPodSandboxResponse)
    assert {item.id for item in listed.items} == {pod_id, other}
    _call(cri, "StopPodSandbox", api.StopPodSandboxRequest(pod_sandbox_id=other), api.StopPodSandboxResponse)
    _call(cri, "RemovePodSandbox", api.RemovePodSandboxRequest(pod_sandbox_id=other), api.RemovePodSandboxResponse)
    assert cri.pod_ids() == [pod_id]


def test_environment_values(cri: CRI) -> None:
    """A variable's value, a string here and bytes in v1, reaches the container unchanged."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    config = cri.container(envs=[api.KeyValue(key="WORD", value="Grüße".encode())])
    request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
    container_id = _call(cri, "CreateContainer", request, api.CreateContainerResponse).container_id
    _call(cri, "StartContainer", api.StartContainerRequest(container_id=container_id), api.StartContainerResponse)
    exec_request = api.ExecSyncRequest(container_id=container_id, cmd=["sh", "-c", 'echo "$WORD"'])
    assert _call(cri, "ExecSync", exec_request, api.ExecSyncResponse).stdout.decode() == "Grüße\n"


def test_images(cri: CRI) -> None:
    """The image service has the older name too."""
    listed = _call(cri, "ListImages", api.ListImagesRequest(), api.ListImagesResponse, "ImageService")
    assert {image.id for image in listed.images} == {
        image.id for image in cri.images.ListImages(api.ListImagesRequest()).images
    }
