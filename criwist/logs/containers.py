"""The CRI log files of containers: the provider of ``IContainerLogs``.

Where a container's log comes from is decided once, when it is first followed:

* A container that was made by an older shim, known by its link, keeps the link; so does everybody with
  ``--log-mode symlink``.
* The driver ``none`` keeps nothing: the file says so.
* What Docker writes to a file that we know and can read is read from there, at no cost to the engine.
* Everything else is asked for at the engine's log API.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from zope.interface import implementer

from criwist.config import Config
from criwist.errors import FailedPrecondition
from criwist.interfaces.engine import EngineFacts, IDocker, JSONObject
from criwist.interfaces.logs import IContainerLogs, LoggedContainer
from criwist.logs.cri_file.cri_file import CriFile
from criwist.logs.docker_files.docker_log import DockerLog
from criwist.logs.docker_files.file_log import FileLog
from criwist.logs.docker_files.follower import Follower
from criwist.logs.docker_files.location import NO_DRIVER, EngineFile, engine_file
from criwist.logs.engine_api.api_log import ApiLog
from criwist.logs.engine_api.api_writer import ApiWriter
from criwist.logs.inotify import Inotify
from criwist.logs.links import LinkedLog, is_linked
from criwist.logs.positions import Positions
from criwist.logs.reports import Reports
from criwist.logs.scheduler import Scheduler
from criwist.logs.unreadable_driver import UnreadableLog

#: Seconds that the end of a container, and its removal, wait for its log at most.
SETTLE_LIMIT: Final = 2.0
#: Files that a container's log is kept in if only their size is configured.  With a single one Docker empties it when
#: it is full, and what we have not read is lost.
LEAST_FILES: Final = 2


class _Log(Protocol):
    """One container's log, by whatever way it comes."""

    def follow(self, container: LoggedContainer) -> None: ...

    async def settled(self) -> None: ...

    async def reopen(self) -> None: ...

    async def forget(self) -> None: ...

    def stop(self) -> None: ...


@implementer(IContainerLogs)
@define(eq=False)
class ContainerLogs:
    """The logs of this node's containers.

    :param reactor: IReactorTime and IReactorFDSet.
    :param reads_files: whether Docker's files may be read; if not, all comes from the engine's API.
    """

    _config: Config
    _docker: IDocker
    _reactor: Any
    _reads_files: bool = field(default=True, kw_only=True)
    _log: Logger = field(factory=Logger, kw_only=True)
    _logs: dict[str, _Log] = field(factory=dict, init=False)
    _positions: Positions = field(init=False)
    _watch: Inotify = field(init=False)
    _rounds: Scheduler = field(init=False)
    _watching: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._positions = Positions(os.path.join(self._config.root_directory, "logs"))
        self._watch = Inotify(self._reactor)
        self._rounds = Scheduler(self._reactor)

    def container_options(self) -> JSONObject:
        """``HostConfig.LogConfig``."""
        options: dict[str, str] = {}
        if self._config.container_log_max_size:
            options["max-size"] = self._config.container_log_max_size
            options["max-file"] = str(self._config.container_log_max_files or LEAST_FILES)
        elif self._config.container_log_max_files:
            options["max-file"] = str(self._config.container_log_max_files)
        if not options and not self._config.container_log_driver:
            return {}
        return {"Type": self._config.container_log_driver, "Config": options}

    def follow(self, container: LoggedContainer) -> None:
        """Follow, or look again."""
        log = self._logs.get(container.container_id)
        if log is None:
            log = self._logs[container.container_id] = self._choose(container)
        elif container.running:
            log = self._reconsidered(log)
        log.follow(container)

    async def settled(self, container_id: str) -> None:
        """Wait for the rest."""
        log = self._logs.get(container_id)
        if log is not None:
            await self._within_limit(container_id, self._reconsidered(log))

    async def reopen(self, container_id: str) -> None:
        """Close and open."""
        log = self._logs.get(container_id)
        if log is None:
            raise FailedPrecondition(f"the log of container {container_id} is not written: it is not running")
        try:
            await log.reopen()
        except OSError as error:
            raise FailedPrecondition(f"the log of container {container_id} cannot be reopened: {error}") from error

    async def forget(self, container_id: str) -> None:
        """Write what there is yet, then let go."""
        log = self._logs.get(container_id)
        if log is None:
            self._positions.remove(container_id)
            return
        await self._within_limit(container_id, log)
        if self._logs.pop(container_id, None) is log:
            await log.forget()

    async def reconcile(self, known: Collection[str]) -> None:
        """Let go of what is gone."""
        for container_id in {*self._logs, *self._positions.identifiers()} - set(known):
            await self.forget(container_id)

    def stop(self) -> None:
        """Record how far all are."""
        for log in self._logs.values():
            log.stop()
        self._logs.clear()
        self._rounds.stop()
        self._watch.stop()

    async def _within_limit(self, container_id: str, log: _Log) -> None:
        waiting = Deferred.fromCoroutine(log.settled())
        waiting.addTimeout(SETTLE_LIMIT, self._reactor)
        try:
            await waiting
        except DeferredTimeout:
            self._log.warn(
                "The log of container {container} is not whole {seconds} seconds after its end; it is written on",
                container=container_id,
                seconds=SETTLE_LIMIT,
            )

    # -- Where a log comes from

    def _choose(self, container: LoggedContainer) -> _Log:
        facts = self._docker.facts
        root = facts.root_directory if isinstance(facts, EngineFacts) else EngineFacts().root_directory
        file = engine_file(container, root) if self._reads_files else None
        known = self._positions.load(container.container_id) is not None
        if not known and (container.adopted or self._config.log_mode == "symlink" or is_linked(container)):
            return LinkedLog(container, self._link_target(container, file))
        reports = Reports(container.container_id)
        output = CriFile(container.path)
        if container.driver == NO_DRIVER:
            return UnreadableLog(container, output, int(self._reactor.seconds() * 10**9), reports)
        if file is None or (not file.certain and container.running and not os.path.exists(file.path)):
            return self._requested(container, output, reports)
        return self._followed(container, file, output, reports)

    def _reconsidered(self, log: _Log) -> _Log:
        """*log*, of a container that has been started, or what takes its place if its file has not been made."""
        if not isinstance(log, FileLog) or not log.is_in_vain:
            return log
        log.stop()
        container = log.container
        other = self._requested(container, CriFile(container.path), Reports(container.container_id))
        self._logs[container.container_id] = other
        other.follow(container)
        return other

    def _requested(self, container: LoggedContainer, output: CriFile, reports: Reports) -> ApiLog:
        continuation = ApiWriter(container.container_id, output, self._positions, reports)
        return ApiLog(container, self._docker, continuation, self._positions, self._reactor, reports)

    def _link_target(self, container: LoggedContainer, file: EngineFile | None) -> str:
        if container.driver != "json-file":
            return ""
        return container.engine_path or (file.path if file is not None else "")

    def _followed(self, container: LoggedContainer, file: EngineFile, output: CriFile, reports: Reports) -> FileLog:
        if not self._watching:
            self._watch.start()
            self._watching = True
        follower = Follower(
            container.container_id,
            DockerLog(file.path, file.format),
            output,
            self._positions,
            self._watch,
            self._rounds.call,
            reports,
        )
        return FileLog(container, file, follower, self._rounds, self._positions, reports)
