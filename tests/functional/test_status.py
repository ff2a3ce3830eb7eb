"""Version, Status, RuntimeConfig and UpdateRuntimeConfig."""

from __future__ import annotations

import json

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.engine import Engine


@pytest.mark.second_opinion
def test_version(cri: CRI) -> None:
    """Version returns the CRI's version, a name and the runtime's version, whatever version the caller sends."""
    for sent in ("", "0.1.0", "v1"):
        response = cri.runtime.Version(api.VersionRequest(version=sent))
        assert response.version == "0.1.0"
        assert response.runtime_api_version == "v1"
        assert response.runtime_name
        assert response.runtime_version


def test_version_is_dockers(cri: CRI, engine: Engine) -> None:
    """The runtime's name is ``docker``, kubelet's prefix of container ids, and its version is the engine's."""
    response = cri.runtime.Version(api.VersionRequest())
    assert response.runtime_name == "docker"
    assert response.runtime_version == engine.get("/version")["Version"]


@pytest.mark.second_opinion
def test_status_is_ready(cri: CRI) -> None:
    """Status has both conditions that kubelet reads, and they are true."""
    conditions = {each.type: each for each in cri.runtime.Status(api.StatusRequest()).status.conditions}
    assert conditions["RuntimeReady"].status
    assert conditions["NetworkReady"].status


def test_runtime_handlers(cri: CRI, engine: Engine) -> None:
    """Status lists the default handler and every runtime of the engine; containerd 1.6 does not have the list."""
    handlers = {handler.name for handler in cri.runtime.Status(api.StatusRequest()).runtime_handlers}
    assert "" in handlers
    assert set(engine.get("/info")["Runtimes"]) <= handlers


def test_verbose_status_is_json(cri: CRI) -> None:
    """Every verbose value is JSON, and one is the effective configuration."""
    info = cri.runtime.Status(api.StatusRequest(verbose=True)).info
    assert info
    for value in info.values():
        json.loads(value)
    assert cri.socket.name in "".join(info.values())
    assert not cri.runtime.Status(api.StatusRequest()).info


def test_cgroup_driver(cri: CRI, engine: Engine) -> None:
    """RuntimeConfig returns the engine's cgroup driver, which kubelet uses."""
    driver = cri.runtime.RuntimeConfig(api.RuntimeConfigRequest()).linux.cgroup_driver
    assert api.CgroupDriver.Name(driver).lower() == engine.get("/info")["CgroupDriver"]


@pytest.mark.second_opinion
def test_pod_cidr_is_taken(cri: CRI) -> None:
    """UpdateRuntimeConfig accepts one CIDR, two, and none."""
    for cidr in ("10.1.0.0/24", "10.1.0.0/24,fd00:1::/64", ""):
        network = api.NetworkConfig(pod_cidr=cidr)
        cri.runtime.UpdateRuntimeConfig(
            api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network))
        )


def test_nonsense_is_no_pod_cidr(cri: CRI) -> None:
    """UpdateRuntimeConfig with a malformed CIDR fails with INVALID_ARGUMENT."""
    network = api.NetworkConfig(pod_cidr="10.1.0.0/99")
    request = api.UpdateRuntimeConfigRequest(runtime_config=api.RuntimeConfig(network_config=network))
    text = refused(lambda: cri.runtime.UpdateRuntimeConfig(request), grpc.StatusCode.INVALID_ARGUMENT)
    assert "10.1.0.0/99" in text
