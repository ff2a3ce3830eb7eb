"""Annotations, as far as they are the OCI runtime's: Docker passes them on from API 1.43 on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.engine import Engine

MARK = {"criwist.test/mark": "ü = 'x'"}
#: runc, where systemd makes its cgroups, would take the one for a property of the unit, and crun obey the other.
ORDER = {"org.systemd.property.MemoryHigh": "uint64 1048576", "run.oci.handler": "wasm"}


def bundled(engine: Engine, container_id: str) -> dict[str, Any]:
    """The annotations in what the engine tells the OCI runtime of a running container."""
    bundle = engine.root / "exec/containerd/daemon/io.containerd.runtime.v2.task/moby" / container_id
    annotations: dict[str, Any] = json.loads((bundle / "config.json").read_text()).get("annotations", {})
    return annotations


@pytest.mark.newer_engines
def test_annotations_of_the_oci_runtime(cri: CRI, engine_of_cri: Engine) -> None:
    """Sandbox and container have their annotations in the bundle if the engine can, but no orders to a runtime."""
    pod = cri.pod(annotations={**MARK, **ORDER})
    pod_id, container_id = cri.run_in_pod(pod=pod, annotations={**MARK, **ORDER})
    version = tuple(int(part) for part in engine_of_cri.get("/version")["ApiVersion"].split("."))
    for identifier in (pod_id, container_id):
        found = bundled(engine_of_cri, identifier)
        assert {key: found[key] for key in MARK if key in found} == (MARK if version >= (1, 43) else {})
        assert not ORDER.keys() & found.keys()
    assert dict(cri.status(container_id).annotations) == {**MARK, **ORDER}
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
