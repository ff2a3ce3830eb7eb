"""Sandbox records on disk, and the checkpoints of older Docker shims.

Docker stores the configuration that a sandbox was created with.  Teardown and status need more, which is in a
:class:`~criwist.interfaces.records.SandboxRecord`, one ``<directory>/<sandbox id>.json`` each (see
:mod:`criwist.records.atomic_files`).

dockershim and cri-dockerd kept less, in files of their own: ``<root>/sandbox/<sandbox id>`` with the pod's name, its
host ports and whether it is on the host's network.  criwist reads their directories for sandboxes without a record, so
that it can take over a node with running pods.  In the other direction it can mirror each record as a cri-dockerd
checkpoint, so that cri-dockerd can take the node back: cri-dockerd deletes a checkpoint with a wrong checksum, hence
:mod:`criwist.records.older_shims` computes the same one.

Removing a record removes it everywhere; otherwise a sandbox adopted and removed would come back at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from zope.interface import implementer

from criwist.interfaces.network import PodNetwork, PodNetworkRequest, PortMapping
from criwist.interfaces.records import ISandboxRecords, SandboxRecord
from criwist.records.atomic_files import Documents, remove_file, valid_key, write_file
from criwist.records.older_shims import CRI_DOCKERD_SANDBOXES, DOCKERSHIM_SANDBOXES, checkpoint_text, read_checkpoint

_VERSION = 1


def mirror_directory(cri_dockerd_sandboxes: str = CRI_DOCKERD_SANDBOXES) -> str:
    """Return the default directory of mirrored records; ``""`` (none) if no cri-dockerd was on this node."""
    return cri_dockerd_sandboxes if os.path.isdir(cri_dockerd_sandboxes) else ""


@implementer(ISandboxRecords)
@define
class SandboxRecords:
    """Records in *directory*, which the first write creates."""

    directory: str
    #: Checkpoint directories of older shims; the first one with a sandbox wins.
    older: Sequence[str] = (CRI_DOCKERD_SANDBOXES, DOCKERSHIM_SANDBOXES)
    #: Checkpoint directory that a cri-dockerd could be started on; ``""``: none.
    mirror: str = ""
    _log: Logger = field(factory=Logger, kw_only=True)
    _documents: Documents = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._documents = Documents(self.directory, _VERSION, log=self._log)

    def save(self, record: SandboxRecord, *, durable: bool = True) -> None:
        """Write atomically, and mirror.  A mirror that cannot be written is logged, and is no error."""
        self._documents.write(record.sandbox_id, _document(record), durable=durable)
        if self.mirror:
            self._save_mirror(record)

    def load(self, sandbox_id: str) -> SandboxRecord | None:
        """Return the record; else one from an older shim's checkpoint; else None."""
        document = self._documents.read(sandbox_id)
        if document is not None:
            try:
                return _record(document)
            except (KeyError, TypeError, ValueError) as problem:
                self._documents.set_aside(sandbox_id, repr(problem))
        return self._load_older(sandbox_id) if valid_key(sandbox_id) else None

    def remove(self, sandbox_id: str) -> None:
        """Remove the record, and the older shims' checkpoint of the same sandbox.  Idempotent."""
        if not valid_key(sandbox_id):
            return
        self._documents.remove(sandbox_id)
        for directory in {*self.older, self.mirror} - {""}:
            try:
                remove_file(os.path.join(directory, sandbox_id))
            except OSError as problem:
                self._log.warn(
                    "The checkpoint of sandbox {sandbox} in {directory} cannot be removed: {problem}",
                    sandbox=sandbox_id,
                    directory=directory,
                    problem=problem,
                )

    def identifiers(self) -> Sequence[str]:
        """Return the ids of all sandboxes that have a record, those of older shims included, in order."""
        found = set(self._documents.keys())
        for directory in {*self.older, self.mirror} - {""}:
            found.update(_checkpoint_names(directory))
        return sorted(found)

    def _save_mirror(self, record: SandboxRecord) -> None:
        path = os.path.join(self.mirror, record.sandbox_id)
        text = checkpoint_text(
            name=record.request.name,
            namespace=record.request.namespace,
            port_mappings=record.request.port_mappings,
            host_network=record.host_network,
        )
        content = text.encode("utf-8")
        try:
            if _holds(path, content):
                return  # a checkpoint has none of the members that change in a record
            os.makedirs(self.mirror, mode=0o755, exist_ok=True)
            write_file(path, content)
        except OSError as problem:
            self._log.warn(
                "Sandbox {sandbox} cannot be mirrored to {path}, so a cri-dockerd started here would not know its host "
                "ports: {problem}",
                sandbox=record.sandbox_id,
                path=path,
                problem=problem,
            )

    def _load_older(self, sandbox_id: str) -> SandboxRecord | None:
        for directory in self.older:
            path = os.path.join(directory, sandbox_id)
            try:
                with open(path, "rb") as stream:
                    return read_checkpoint(sandbox_id, stream.read())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as problem:
                self._log.error("The checkpoint {path} cannot be read: {problem}", path=path, problem=problem)
        return None


def _holds(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read() == content
    except FileNotFoundError:
        return False


def _checkpoint_names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if valid_key(name)]
    except FileNotFoundError:
        return []


def _document(record: SandboxRecord) -> dict[str, Any]:
    request = record.request
    network = record.network
    return {
        "sandbox_id": record.sandbox_id,
        "request": {
            "name": request.name,
            "namespace": request.namespace,
            "uid": request.uid,
            "annotations": dict(request.annotations),
            "port_mappings": [
                {
                    "protocol": mapping.protocol,
                    "container_port": mapping.container_port,
                    "host_port": mapping.host_port,
                    "host_ip": mapping.host_ip,
                }
                for mapping in request.port_mappings
            ],
            "dns_servers": list(request.dns_servers),
            "dns_searches": list(request.dns_searches),
            "dns_options": list(request.dns_options),
            "cgroup_parent": request.cgroup_parent,
        },
        "network_plugin": record.network_plugin,
        "network": None if network is None else {"addresses": list(network.addresses), "record": dict(network.record)},
        "host_network": record.host_network,
        "shared_pid": record.shared_pid,
        "runtime_handler": record.runtime_handler,
        "log_directory": record.log_directory,
        "hostname": record.hostname,
        "stopped": record.stopped,
        "started_at": record.started_at,
    }


def _record(document: Mapping[str, Any]) -> SandboxRecord:
    """The record of a document that :func:`_document` made; members of later versions are ignored."""
    request = document["request"]
    network = document["network"]
    return SandboxRecord(
        sandbox_id=document["sandbox_id"],
        request=PodNetworkRequest(
            sandbox_id=document["sandbox_id"],
            name=request["name"],
            namespace=request["namespace"],
            uid=request["uid"],
            annotations=dict(request["annotations"]),
            port_mappings=tuple(
                PortMapping(
                    protocol=mapping["protocol"],
                    container_port=mapping["container_port"],
                    host_port=mapping["host_port"],
                    host_ip=mapping["host_ip"],
                )
                for mapping in request["port_mappings"]
            ),
            dns_servers=tuple(request["dns_servers"]),
            dns_searches=tuple(request["dns_searches"]),
            dns_options=tuple(request["dns_options"]),
            cgroup_parent=request["cgroup_parent"],
        ),
        network_plugin=document["network_plugin"],
        network=None if network is None else PodNetwork(tuple(network["addresses"]), dict(network["record"])),
        host_network=document["host_network"],
        shared_pid=document.get("shared_pid") is True,
        runtime_handler=document["runtime_handler"],
        log_directory=document["log_directory"],
        hostname=document["hostname"],
        stopped=document["stopped"],
        started_at=str(document.get("started_at") or ""),
    )
