"""The CRI log files of containers: the provider of ``IContainerLogs``.

The source of a container's log is chosen once, when the log is first followed:

* A container of an older shim, recognized by its link, keeps the link; with ``--log-mode symlink`` every container has
  a link.
* The driver ``none`` keeps nothing: one line in the CRI file explains that.
* A log file of Docker's, in a format that criwist can read, is read directly, at no cost to the engine.
* Every other log is requested from the engine's log API.
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
from criwist.interfaces.logs import FollowedLogs, IContainerLogs, LoggedContainer
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.logs.cri_file.cri_file import CriFile
from criwist.logs.docker_files.docker_log import DockerLog
from criwist.logs.docker_files.file_log import FileLog
from criwist.logs.docker_files.follower import LogFollower
from criwist.logs.docker_files.location import NO_DRIVER, DockerLogFile, docker_log_file
from criwist.logs.engine_api.api_log import ApiLog
from criwist.logs.engine_api.api_writer import ApiWriter
from criwist.logs.inotify import Inotify
from criwist.logs.positions import Positions
from criwist.logs.problem_reports import ProblemReports
from criwist.logs.scheduler import Scheduler
from criwist.logs.symlinks import SymlinkLog, is_symlinked
from criwist.logs.unreadable_driver import UnreadableLog

#: Seconds for which a container's exit, and its removal, wait for its log at most.
SETTLE_TIMEOUT: Final = 2.0
#: Files that Docker keeps for a container if only their size is configured.  If it keeps a single file, it empties that
#: file when it is full, and the entries that criwist has not read are lost.
MIN_FILES: Final = 2


class _ContainerLog(Protocol):
    """One container's log, whatever its source is.  The methods are those of ``IContainerLogs``."""

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
    :param reads_files: whether Docker's files may be read; if not, every log comes from the engine's API.
    """

    _config: Config
    _docker: IDocker
    _reactor: Any
    _reads_files: bool = field(default=True, kw_only=True)
    _metrics: IMetrics = field(default=NO_METRICS, kw_only=True)
    _log: Logger = field(factory=Logger, kw_only=True)
    _logs: dict[str, _ContainerLog] = field(factory=dict, init=False)
    _positions: Positions = field(init=False)
    _inotify: Inotify = field(init=False)
    _is_inotify_started: bool = field(default=False, init=False)
    _scheduler: Scheduler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._positions = Positions(os.path.join(self._config.root_directory, "logs"))
        self._inotify = Inotify(self._reactor)
        self._scheduler = Scheduler(self._reactor)

    def container_options(self) -> JSONObject:
        options: dict[str, str] = {}
        if self._config.container_log_max_size:
            options["max-size"] = self._config.container_log_max_size
            options["max-file"] = str(self._config.container_log_max_files or MIN_FILES)
        elif self._config.container_log_max_files:
            options["max-file"] = str(self._config.container_log_max_files)
        if not options and not self._config.container_log_driver:
            return {}
        return {"Type": self._config.container_log_driver, "Config": options}

    def follow(self, container: LoggedContainer) -> None:
        log = self._logs.get(container.container_id)
        if log is None:
            log = self._logs[container.container_id] = self._choose_source(container)
        elif container.running:
            log = self._reconsider_source(log)
        log.follow(container)

    async def settled(self, container_id: str) -> None:
        log = self._logs.get(container_id)
        if log is not None:
            await self._settle_in_time(container_id, self._reconsider_source(log))

    async def reopen(self, container_id: str) -> None:
        log = self._logs.get(container_id)
        if log is None:
            raise FailedPrecondition(f"the log of container {container_id} is not written: it is not running")
        try:
            await log.reopen()
        except OSError as error:
            raise FailedPrecondition(f"the log of container {container_id} cannot be reopened: {error}") from error

    async def forget(self, container_id: str) -> None:
        log = self._logs.get(container_id)
        if log is None:
            self._positions.remove(container_id)
            return
        await self._settle_in_time(container_id, log)
        if self._logs.pop(container_id, None) is log:
            await log.forget()

    async def reconcile(self, known: Collection[str]) -> None:
        for container_id in {*self._logs, *self._positions.identifiers()} - set(known):
            await self.forget(container_id)

    def followed(self) -> FollowedLogs:
        files = [log.unread for log in self._logs.values() if isinstance(log, FileLog)]
        requested = sum(isinstance(log, ApiLog) for log in self._logs.values())
        return FollowedLogs(
            files=len(files),
            requested=requested,
            others=len(self._logs) - len(files) - requested,
            unread=sum(files),
            most_unread=max(files, default=0),
        )

    def stop(self) -> None:
        for log in self._logs.values():
            log.stop()
        self._logs.clear()
        self._scheduler.stop()
        self._inotify.stop()

    async def _settle_in_time(self, container_id: str, log: _ContainerLog) -> None:
        settled = Deferred.fromCoroutine(log.settled())
        settled.addTimeout(SETTLE_TIMEOUT, self._reactor)
        try:
            await settled
        except DeferredTimeout:
            self._log.warn(
                "The log of container {container} is incomplete {seconds} seconds after the container's end; "
                "criwist continues to write it",
                container=container_id,
                seconds=SETTLE_TIMEOUT,
            )

    # -- The source of a log

    def _choose_source(self, container: LoggedContainer) -> _ContainerLog:
        facts = self._docker.facts
        root = facts.root_directory if isinstance(facts, EngineFacts) else EngineFacts().root_directory
        file = docker_log_file(container, root) if self._reads_files else None
        has_record = self._positions.load(container.container_id) is not None
        if not has_record and (container.adopted or self._config.log_mode == "symlink" or is_symlinked(container)):
            return SymlinkLog(container, self._link_target(container, file))
        problems = ProblemReports(container.container_id, self._metrics)
        cri_file = CriFile(container.path)
        if container.driver == NO_DRIVER:
            return UnreadableLog(container, cri_file, int(self._reactor.seconds() * 10**9), problems)
        if file is None or (not file.is_certain and container.running and not os.path.exists(file.path)):
            return self._api_log(container, cri_file, problems)
        return self._file_log(container, file, cri_file, problems)

    def _reconsider_source(self, log: _ContainerLog) -> _ContainerLog:
        """Return *log*, of a started container, or an :class:`ApiLog` in its place if Docker writes no file."""
        if not isinstance(log, FileLog) or not log.has_no_file:
            return log
        log.stop()
        container = log.container
        other = self._api_log(container, CriFile(container.path), ProblemReports(container.container_id, self._metrics))
        self._logs[container.container_id] = other
        other.follow(container)
        return other

    def _api_log(self, container: LoggedContainer, cri_file: CriFile, problems: ProblemReports) -> ApiLog:
        writer = ApiWriter(container.container_id, cri_file, self._positions, problems)
        return ApiLog(
            container,
            self._docker,
            writer,
            positions=self._positions,
            reactor=self._reactor,
            problems=problems,
        )

    def _link_target(self, container: LoggedContainer, file: DockerLogFile | None) -> str:
        if container.driver != "json-file":
            return ""
        return container.engine_path or (file.path if file is not None else "")

    def _file_log(
        self, container: LoggedContainer, file: DockerLogFile, cri_file: CriFile, problems: ProblemReports
    ) -> FileLog:
        if not self._is_inotify_started:
            self._inotify.start()
            self._is_inotify_started = True
        follower = LogFollower(
            container.container_id,
            DockerLog(file.path, file.format),
            cri_file,
            positions=self._positions,
            inotify=self._inotify,
            wake=self._scheduler.wake,
            problems=problems,
        )
        return FileLog(
            container, file, follower, scheduler=self._scheduler, positions=self._positions, problems=problems
        )
