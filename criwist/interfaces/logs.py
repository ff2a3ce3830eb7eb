"""Container logs: the files in CRI format that kubelet reads."""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen
from zope.interface import Interface

from criwist.interfaces.engine import JSONObject


@frozen
class LoggedContainer:
    """A container whose log is wanted."""

    container_id: str
    #: Absolute path kubelet reads.
    path: str
    tty: bool
    #: The engine's ``LogPath``; ``""`` before the first start, and unless the driver is json-file.
    engine_path: str = ""
    #: ``HostConfig.LogConfig.Type``.
    driver: str = "json-file"
    running: bool = True
    #: Not made by us: the log path is a symlink and stays one.
    adopted: bool = False


class IContainerLogs(Interface):
    """The CRI log files of containers."""

    def container_options() -> JSONObject:
        """``HostConfig.LogConfig`` for a new container; empty: the daemon's default."""

    def follow(container: LoggedContainer) -> None:
        """The container is about to be started, runs, or was found at our start or at a meeting with the engine.

        Called before the engine is told to start it (``running`` False), so that the file is there and the first byte
        is seen, and again once it runs (``running`` True), which spares sources that know nothing of a start their
        asking.  Idempotent, and cheap for a container that is followed already.  Trouble is logged and tried again.
        """

    async def settled(container_id: str) -> None:
        """Return when the file holds all that the exited container wrote, or after two seconds at most.

        Not followed: at once.
        """

    async def reopen(container_id: str) -> None:
        """Close and open the file at its path.  Not followed, or the file cannot be had: ``FailedPrecondition``."""

    async def forget(container_id: str) -> None:
        """The container is removed: write what there is yet, stop following, drop the position; the file stays.

        Idempotent.  Two seconds at most.
        """

    async def reconcile(known: Collection[str]) -> None:
        """Forget all containers that are not in *known*: those that were removed behind our back, or while we were
        down.
        """

    def stop() -> None:
        """We end: record how far each log is and close the files.  A restart after SIGKILL does without."""
