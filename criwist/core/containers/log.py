"""ReopenContainerLog, and a container as ``IContainerLogs`` needs it."""

from __future__ import annotations

import posixpath

from criwist import errors
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.logs import LoggedContainer


async def reopen_log(deps: ContainerDependencies, identifier: str) -> None:
    """See :meth:`Containers.reopen_log`."""
    entry = await deps.known(identifier)
    if not entry.running:
        raise errors.FailedPrecondition(f"container {entry.id} is not running")
    if not entry.log_path:
        raise errors.FailedPrecondition(f"container {entry.id} has no log")
    await deps.logs.reopen(entry.id)


def logged_container(entry: ContainerEntry) -> LoggedContainer:
    """Return what ``IContainerLogs.follow`` takes for a container that has a log path."""
    return LoggedContainer(
        container_id=entry.id,
        path=posixpath.normpath(entry.log_path),
        tty=entry.tty,
        engine_path=entry.engine_log_path,
        driver=entry.log_driver,
        running=entry.running,
    )
