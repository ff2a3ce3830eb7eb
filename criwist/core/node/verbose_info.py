"""The ``info`` of verbose status responses: one JSON document that ``crictl inspect`` prints as it is.

People request it, kubelets do not, so it is made on demand and may send a request to Docker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from attrs import define

from criwist import errors
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.records import ISandboxRecords
from criwist.kernel.cgroup.paths import process_cgroup
from criwist.kernel.oci_bundle import runtime_spec
from criwist.wire.protobuf import message_field

#: Number of ``map<string, string> info`` in PodSandboxStatusResponse, ContainerStatusResponse, ImageStatusResponse.
_INFO_FIELD = 2
#: Numbers of key and value in an entry of any map (protobuf.dev, "Maps").
_KEY, _VALUE = 1, 2


@define(eq=False)
class VerboseInfo:
    """Makes the info documents.

    :param inspect: inspects a container, and blocks its thread meanwhile.
    """

    _engine: EngineProfile
    _records: ISandboxRecords
    _inspect: Callable[[str], JSONObject]

    def sandbox(self, entry: SandboxEntry) -> bytes:
        """Return field ``info`` of a PodSandboxStatusResponse, serialized.  In a thread that may block."""
        record = self._records.load(entry.id)
        document = self._common(entry.id, entry.pid, entry.runtime)
        document["netns"] = f"/proc/{entry.pid}/ns/net" if entry.pid else ""
        document["record"] = attrs.asdict(record) if record else None
        return _info(document)

    def container(self, entry: ContainerEntry) -> bytes:
        """Return field ``info`` of a ContainerStatusResponse, serialized.  In a thread that may block."""
        document = self._common(entry.id, entry.pid, "")
        document["sandboxID"] = entry.sandbox_id
        document["engineLogPath"] = entry.engine_log_path
        return _info(document)

    def _common(self, identifier: str, pid: int, runtime: str) -> dict[str, Any]:
        inspected = dict(self._inspect(identifier))
        facts = self._engine.facts
        return {
            "pid": pid,
            "runtime": runtime or (inspected.get("HostConfig") or {}).get("Runtime", ""),
            "engine": {"id": facts.id, "version": facts.version},
            "cgroups": _cgroups(pid, identifier) if pid else {},
            # The name that other runtimes use, and that tools read.
            "runtimeSpec": runtime_spec(pid, identifier) if pid else None,
            "docker": inspected,
        }


def info_entry(name: str, value: Any) -> bytes:
    """Return one entry of field ``info``, serialized; *value* as JSON."""
    text = json.dumps(value, default=str, sort_keys=True)
    return message_field(_INFO_FIELD, message_field(_KEY, name.encode()) + message_field(_VALUE, text.encode()))


def _cgroups(pid: int, container: str) -> dict[str, str]:
    """Return the cgroup's directories by controller; the unified hierarchy's under ``""``."""
    try:
        cgroup = process_cgroup(pid, container)
    except errors.NotFound:
        return {}
    return dict(cgroup.v1) | ({"": cgroup.v2} if cgroup.v2 else {})


def _info(document: Mapping[str, Any]) -> bytes:
    return info_entry("info", document)
