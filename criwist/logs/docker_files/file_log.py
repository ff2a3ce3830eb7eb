"""The log of a container whose source is Docker's own log file."""

from __future__ import annotations

import os

from attrs import define, field

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.docker_files.follower import LogFollower
from criwist.logs.docker_files.location import DockerLogFile
from criwist.logs.positions import Positions
from criwist.logs.problem_reports import ProblemReports
from criwist.logs.scheduler import Scheduler


@define(eq=False)
class FileLog:
    """One container's follower and its place in the scheduler."""

    container: LoggedContainer
    _file: DockerLogFile
    _follower: LogFollower
    _scheduler: Scheduler = field(kw_only=True)
    _positions: Positions = field(kw_only=True)
    _problems: ProblemReports = field(kw_only=True)

    def follow(self, container: LoggedContainer) -> None:
        """Start the follower, or wake it."""
        # A container with a record that does not run has ended; it may be about to be started all the same.
        has_record = self._positions.load(container.container_id) is not None
        self._follower.ended = has_record and not container.running
        try:
            # Now, so that the CRI file exists before the container is started.
            self._follower.start()
        except OSError as error:
            self._problems.blocked(error)
        self._scheduler.wake(self._follower)

    @property
    def has_no_file(self) -> bool:
        """Whether Docker, having started the container, does not write the file."""
        return not self._file.is_certain and not os.path.exists(self._file.path)

    @property
    def unread(self) -> int:
        """Bytes of Docker's current file that are not in the CRI file yet."""
        return self._follower.unread

    async def settled(self) -> None:
        """Return when the CRI file holds all that Docker has."""
        if self._follower.is_closed and not os.path.exists(self._file.path):
            return
        self._follower.ended = True
        await self._scheduler.drain(self._follower)

    async def reopen(self) -> None:
        """Open the CRI file at its path again."""
        self._follower.reopen()
        self._scheduler.wake(self._follower)

    async def forget(self) -> None:
        """Close the files and remove the record."""
        self._scheduler.remove(self._follower)
        self._follower.close()
        self._positions.remove(self.container.container_id)

    def stop(self) -> None:
        """Record the position and close the files."""
        self._scheduler.remove(self._follower)
        self._follower.save()
        self._follower.close()
