"""Annotations of the OCI specification: Docker passes them to the OCI runtime since API 1.43."""

from __future__ import annotations

import json
from typing import Any

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.engine import Engine

MARK = {"criwist.test/mark": "ü = 'x'"}
#: With systemd's cgroups runc would set the first as a property of the unit; crun would obey the second.
ORDER = {"org.systemd.property.MemoryHigh": "uint64 1048576", "run.oci.handler": "wasm"}


def bundled(engine: Engine, container_id: str) -> dict[str, Any]:
    """Return the annotations in the OCI specification of a running container."""
    bundle = engine.root / "exec/containerd/daemon/io.containerd.runtime.v2.task/moby" / container_id
    annotations: dict[str, Any] = json.loads((bundle / "config.json").read_text()).get("annotations", {})
    return annotations


@pytest.mark.newer_engines
def test_annotations_of_the_oci_runtime(cri: CRI, engine_of_cri: Engine) -> None:
    """The OCI specification has the annotations since API 1.43, except those that a runtime obeys."""
    pod = cri.pod(annotations={**MARK, **ORDER})
    pod_id, container_id = cri.run_in_pod(pod=pod, annotations={**MARK, **ORDER})
    version = tuple(int(part) for part in engine_of_cri.get("/version")["ApiVersion"].split("."))
    for identifier in (pod_id, container_id):
        found = bundled(engine_of_cri, identifier)
        assert {key: found[key] for key in MARK if key in found} == (MARK if version >= (1, 43) else {})
        assert not ORDER.keys() & found.keys()
    assert dict(cri.status(container_id).annotations) == {**MARK, **ORDER}
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
