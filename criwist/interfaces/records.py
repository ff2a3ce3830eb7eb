"""Sandbox records: the data of a sandbox that Docker does not keep."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import Interface

from criwist.interfaces.network import PodNetwork, PodNetworkRequest


@frozen
class SandboxRecord:
    """The data of a sandbox that Docker does not keep.  One file each, written before the sandbox is ready."""

    sandbox_id: str
    request: PodNetworkRequest
    #: ``IPodNetwork.name`` that set the network up.
    network_plugin: str
    #: None until set-up is done.
    network: PodNetwork | None = None
    host_network: bool = False
    #: As requested in RunPodSandbox.
    runtime_handler: str = ""
    log_directory: str = ""
    hostname: str = ""
    #: The pod's containers share one PID namespace (NamespaceMode POD); False: each has its own, or the host's.
    shared_pid: bool = False
    #: The network was torn down: the sandbox is not ready, even if its pause runs.
    stopped: bool = False
    #: The engine's ``State.StartedAt`` of the pause when its network was set up; ``""`` in older records.  A pause that
    #: was started again has other namespaces, without that network.
    started_at: str = ""


class ISandboxRecords(Interface):
    """Sandbox records that outlive the process.

    All methods are called on the reactor's thread, which also keeps two of them from working on one file at a time.
    They block: a record is small, and a caller needs its fsync to have happened.
    """

    def save(record: SandboxRecord, *, durable: bool = True) -> None:
        """Write a record, atomically and durably.  It replaces an earlier one.

        :param durable: False: the record need not survive a crash of the machine, only one of the process.
        """

    def load(sandbox_id: str) -> SandboxRecord | None:
        """Return the record, or None if there is none; a damaged one is logged and renamed, and the result is None."""

    def remove(sandbox_id: str) -> None:
        """Remove a record.  Idempotent."""

    def identifiers() -> Sequence[str]:
        """Return the ids of all sandboxes that have a record, those of older shims included."""
