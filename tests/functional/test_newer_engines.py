"""Pods on newer engines, and the features that only these engines have or that differ there.

Tests of other files with the mark ``newer_engines`` run there too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.engine import Engine
from tests.harness.inside import run
from tests.harness.newer_engines import MUTE

pytestmark = pytest.mark.newer_engines(only=True)


def specification(engine: Engine, container_id: str) -> Any:
    """Return the OCI specification of a running container, from the directory of the engine's containerd."""
    (file,) = (engine.root / "exec").glob(f"containerd/daemon/*/moby/{container_id}/config.json")
    return json.loads(file.read_text())


def test_life_of_a_pod(cri: CRI) -> None:
    """A pod runs a container; an exec, a stop and a removal work, and states and lists follow at once."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    container_id = cri.create(pod_id, cri.container(), pod)
    assert cri.status(container_id).state == api.CONTAINER_CREATED
    cri.start(container_id)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
    assert cri.output(container_id, "hostname").strip() == pod.hostname
    assert cri.pod_status(pod_id).network.ip in cri.output(container_id, "ip", "-4", "addr", "show", "eth0")
    cri.stop(container_id)
    ended = cri.status(container_id)
    assert (ended.state, ended.exit_code, ended.reason) == (api.CONTAINER_EXITED, 0, "Completed")
    cri.remove(container_id)
    assert not cri.container_ids()
    cri.stop_pod(pod_id)
    assert cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY
    cri.remove_pod(pod_id)
    assert not cri.pod_ids()


def test_log(cri: CRI) -> None:
    """The log has a container's output when the container has exited."""
    pod = cri.pod()
    config = cri.container("sh", "-c", "echo out; echo err >&2")
    container_id = cri.run(cri.run_pod(pod), config, pod)
    cri.wait_for_exit(container_id)
    lines = Path(pod.log_directory, config.log_path).read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["stderr F err", "stdout F out"]


def test_verbose_status(cri: CRI, engine_of_cri: Engine) -> None:
    """Verbose responses are JSON with pid, runtime, engine, cgroups, netns and the OCI specification."""
    pod_id, container_id = cri.run_in_pod()
    pod = cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id, verbose=True))
    container = cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=container_id, verbose=True))
    for identifier, response in ((pod_id, pod), (container_id, container)):
        info = json.loads(response.info["info"])
        assert info["pid"] == engine_of_cri.inspect(identifier)["State"]["Pid"]
        assert info["runtime"] == "runc"
        assert info["engine"]["id"] == engine_of_cri.get("/info")["ID"]
        assert all(identifier in directory and Path(directory).is_dir() for directory in info["cgroups"].values())
        assert info["cgroups"]
        assert info["runtimeSpec"] == specification(engine_of_cri, identifier)
    info = json.loads(pod.info["info"])
    assert Path(info["netns"]).exists()
    assert info["record"]["network"]["addresses"] == [pod.status.network.ip]


def test_features_of_runtimes(cri: CRI, engine_of_cri: Engine) -> None:
    """Status reports recursive read-only mounts for runc, and not for a runtime that does not report the feature."""
    handlers = {each.name: each.features for each in cri.runtime.Status(api.StatusRequest()).runtime_handlers}
    assert set(engine_of_cri.get("/info")["Runtimes"]) <= handlers.keys()
    for name in ("", "docker", "runc"):
        assert handlers[name].recursive_read_only_mounts
        assert not handlers[name].user_namespaces
    assert not handlers[MUTE].recursive_read_only_mounts
    pod = cri.pod()
    mount = api.Mount(host_path="/srv", container_path="/srv", readonly=True, recursive_read_only=True)
    pod_id = cri.run_pod(pod, runtime_handler=MUTE)
    text = refused(lambda: cri.create(pod_id, cri.container(mounts=[mount]), pod), grpc.StatusCode.FAILED_PRECONDITION)
    assert "config.mounts[0].recursive_read_only" in text


CDI = Path("/run/cdi/criwist-test.json")


@pytest.fixture
def cdi_device() -> Iterator[str]:
    """The name of a CDI device with the host's /dev/zero under another name and an environment variable."""
    edits = {"env": ["CDI_DEVICE=one"], "deviceNodes": [{"path": "/dev/of-cdi", "hostPath": "/dev/zero"}]}
    device = {"name": "one", "containerEdits": edits}
    CDI.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "criwist.test/device", "devices": [device]}))
    yield "criwist.test/device=one"
    CDI.unlink()


def test_cdi_device(cri: CRI, cdi_device: str) -> None:
    """A container has a CDI device with all edits of its specification."""
    container_id = run(cri, cri.container(CDI_devices=[api.CDIDevice(name=cdi_device)]))
    assert "CDI_DEVICE=one" in cri.output(container_id, "cat", "/proc/1/environ").split("\0")
    assert cri.output(container_id, "stat", "-c", "%t %T", "/dev/of-cdi") == "1 5\n"
    assert cri.shell(container_id, "head -c 3 /dev/of-cdi | wc -c").strip() == "3"
