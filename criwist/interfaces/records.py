"""Sandbox records: what Docker cannot remember of a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import Interface

from criwist.interfaces.network import PodNetwork, PodNetworkRequest


@frozen
class SandboxRecord:
    """What Docker cannot remember of a sandbox.  One file each; written before the sandbox is reported ready."""

    sandbox_id: str
    request: PodNetworkRequest
    #: ``IPodNetwork.name`` that set the network up.
    network_plugin: str
    #: None until set-up is done.
    network: PodNetwork | None = None
    host_network: bool = False
    #: As asked for in RunPodSandbox.
    runtime_handler: str = ""
    log_directory: str = ""
    hostname: str = ""
    #: The pod's containers were to share one PID namespace (NamespaceMode POD); False: each has its own, or the host's.
    shared_pid: bool = False
    #: The network was torn down: the sandbox is not ready whatever its pause does.
    stopped: bool = False


class ISandboxRecords(Interface):
    """Sandbox records that outlive us.  Synchronous: a record is small, and its fsync is the point."""

    def save(record: SandboxRecord, *, durable: bool = True) -> None:
        """Write, atomically and durably.  Replaces.

        :param durable: False: it need not outlive the machine, only us.
        """

    def load(sandbox_id: str) -> SandboxRecord | None:
        """The record, or None if there is none; a damaged one is logged, set aside and None."""

    def remove(sandbox_id: str) -> None:
        """Remove.  Idempotent."""

    def identifiers() -> Sequence[str]:
        """Ids of all sandboxes that have a record, those of older shims included."""
