"""Container logs: the files in CRI format that kubelet reads."""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen
from zope.interface import Interface

from criwist.interfaces.engine import JSONObject


@frozen
class LoggedContainer:
    """A container whose log is followed."""

    container_id: str
    #: The absolute path that kubelet reads.
    path: str
    tty: bool
    #: The engine's ``LogPath``; ``""`` before the first start, and unless the driver is json-file.
    engine_path: str = ""
    #: ``HostConfig.LogConfig.Type``.
    driver: str = "json-file"
    running: bool = True
    #: An older shim made the container: the log path is a symlink and stays one.
    adopted: bool = False


@frozen
class FollowedLogs:
    """The logs that are followed at one moment.  Sizes are bytes."""

    #: By source: Docker's own files, the engine's API, and links and drivers without a record.
    files: int = 0
    requested: int = 0
    others: int = 0
    #: Of Docker's files, but not in the CRI files yet: of all logs, and of the one that has most.
    unread: int = 0
    most_unread: int = 0


class IContainerLogs(Interface):
    """The CRI log files of containers.  All methods are called on the reactor's thread."""

    def container_options() -> JSONObject:
        """Return ``HostConfig.LogConfig`` for a new container; empty: the engine's default."""

    def follow(container: LoggedContainer) -> None:
        """Follow the log of a container.

        Called before the engine starts it (``running`` False), so that the file exists and the first byte is read.
        Called again once it runs (``running`` True), so that sources which cannot detect a start need not poll for it.
        Called at each connection to the engine for every container that is found.  Idempotent, and cheap for a
        container that is followed already.  A failure is logged, and retried.
        """

    async def settled(container_id: str) -> None:
        """Return when the file has all output of the exited container, or after two seconds at most.

        For a container that is not followed, return at once.
        """

    async def reopen(container_id: str) -> None:
        """Close the file, and open or create the one at its path.

        :raises FailedPrecondition: the container is not followed, or the file cannot be opened.
        """

    async def forget(container_id: str) -> None:
        """Write the rest of a removed container's output, stop following, drop the position; the file stays.

        Idempotent.  Two seconds at most.
        """

    async def reconcile(known: Collection[str]) -> None:
        """Forget all containers that are not in *known*: they were removed without criwist, or while it was down."""

    def followed() -> FollowedLogs:
        """Return how many logs are followed, and how much of Docker's files is not read yet."""

    def stop() -> None:
        """Record the position in each log and close the files.  A restart after SIGKILL does without."""
