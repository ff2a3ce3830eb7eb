"""OCI annotations, which the engine passes to a runtime such as Kata or gVisor.

Engines before :data:`~criwist.engine_differences.OCI_ANNOTATIONS` keep annotations as labels only.

Every user who may make a pod may annotate it, and some annotations are orders to the OCI runtime that act on the host:
runc makes systemd unit properties of ``org.systemd.property.*``, crun runs with ``run.oci.*``.  These stay labels and
do not reach the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping

from criwist.engine_differences import OCI_ANNOTATIONS
from criwist.interfaces.engine import EngineFacts

_ORDERS = ("org.systemd.property.", "run.oci.")


def oci_annotations(annotations: Mapping[str, str], *, engine: EngineFacts) -> dict[str, dict[str, str]]:
    """Return ``Annotations`` of ``HostConfig``; empty if the engine takes none."""
    if not OCI_ANNOTATIONS.supported_by(engine):
        return {}
    passed = {key: value for key, value in annotations.items() if not key.startswith(_ORDERS)}
    return {"Annotations": passed} if passed else {}
