"""The ``info`` of verbose status responses: one JSON document that ``crictl inspect`` prints as it is.

People request it, kubelets do not, so it is made on demand and may send a request to Docker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import define

from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.interfaces.engine import IDocker
from criwist.interfaces.kernel import IContainerProcesses
from criwist.interfaces.records import ISandboxRecords
from criwist.wire.protobuf import message_field

#: Number of ``map<string, string> info`` in PodSandboxStatusResponse, ContainerStatusResponse, ImageStatusResponse.
_INFO_FIELD = 2
#: Numbers of key and value in an entry of any map (protobuf.dev, "Maps").
_KEY, _VALUE = 1, 2


@define(eq=False)
class VerboseInfo:
    """Makes the info documents, on the reactor's thread."""

    _docker: IDocker
    _engine: EngineProfile
    _records: ISandboxRecords
    _processes: IContainerProcesses

    async def sandbox(self, entry: SandboxEntry) -> bytes:
        """Return field ``info`` of a PodSandboxStatusResponse, serialized."""
        record = self._records.load(entry.id)
        document = await self._common(entry.id, entry.pid, entry.runtime)
        document["netns"] = f"/proc/{entry.pid}/ns/net" if entry.pid else ""
        document["record"] = attrs.asdict(record) if record else None
        return _info(document)

    async def container(self, entry: ContainerEntry) -> bytes:
        """Return field ``info`` of a ContainerStatusResponse, serialized."""
        document = await self._common(entry.id, entry.pid, "")
        document["sandboxID"] = entry.sandbox_id
        document["engineLogPath"] = entry.engine_log_path
        return _info(document)

    async def _common(self, identifier: str, pid: int, runtime: str) -> dict[str, Any]:
        inspected = dict(await self._docker.inspect_container(identifier))
        facts = self._engine.facts
        return {
            "pid": pid,
            "runtime": runtime or (inspected.get("HostConfig") or {}).get("Runtime", ""),
            "engine": {"id": facts.id, "version": facts.version},
            "cgroups": self._processes.cgroups(pid, identifier) if pid else {},
            # The name that other runtimes use, and that tools read.
            "runtimeSpec": self._processes.runtime_spec(pid, identifier) if pid else None,
            "docker": inspected,
        }


def info_entry(name: str, value: Any) -> bytes:
    """Return one entry of field ``info``, serialized; *value* as JSON."""
    text = json.dumps(value, default=str, sort_keys=True)
    return message_field(_INFO_FIELD, message_field(_KEY, name.encode()) + message_field(_VALUE, text.encode()))


def _info(document: Mapping[str, Any]) -> bytes:
    return info_entry("info", document)
