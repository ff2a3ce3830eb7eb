"""OCI annotations: what a runtime such as Kata or gVisor is told of a pod.

The Engine API takes them from 1.43 on; older engines keep them as labels only.

Anybody who may make a pod may annotate it, and some annotations are orders to the OCI runtime that act on the host:
runc makes systemd unit properties of ``org.systemd.property.*``, crun runs with ``run.oci.*``.  These are kept as
labels and not passed on.
"""

from __future__ import annotations

from collections.abc import Mapping

from criwist.interfaces.engine import EngineFacts

_ANNOTATIONS = (1, 43)
_ORDERS = ("org.systemd.property.", "run.oci.")


def oci_annotations(annotations: Mapping[str, str], *, engine: EngineFacts) -> dict[str, dict[str, str]]:
    """``Annotations`` of ``HostConfig``; empty where the engine takes none."""
    if engine.api_version < _ANNOTATIONS:
        return {}
    passed = {key: value for key, value in annotations.items() if not key.startswith(_ORDERS)}
    return {"Annotations": passed} if passed else {}
