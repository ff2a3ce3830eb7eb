"""ReopenContainerLog, a container as ``IContainerLogs`` needs it, and the end of the logs of removed containers."""

from __future__ import annotations

import posixpath

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from criwist import errors
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.state.cache import Cache, Entry
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.logs import IContainerLogs, LoggedContainer

_log = Logger()


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


def forget_removed(cache: Cache, logs: IContainerLogs) -> None:
    """From now on forget the log of each container that is gone, whoever removed it.  Its log file stays."""

    def changed(old: Entry | None, new: Entry | None) -> None:
        if isinstance(old, ContainerEntry) and new is None:
            forgetting = Deferred.fromCoroutine(logs.forget(old.id))
            forgetting.addErrback(
                lambda failure: _log.failure("forgetting the log of container {container}", failure, container=old.id)
            )

    cache.subscribe(changed)
