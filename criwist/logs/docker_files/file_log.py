"""The log of a container whose Docker log file is followed, as the rest of the daemon deals with it."""

from __future__ import annotations

import os

from attrs import define

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.docker_files.follower import Follower
from criwist.logs.docker_files.location import EngineFile
from criwist.logs.positions import Positions
from criwist.logs.reports import Reports
from criwist.logs.scheduler import Scheduler


@define(eq=False)
class FileLog:
    """One container's follower and its turns."""

    container: LoggedContainer
    _file: EngineFile
    _follower: Follower
    _rounds: Scheduler
    _positions: Positions
    _reports: Reports

    def follow(self, container: LoggedContainer) -> None:
        """Begin, or look again."""
        # One that was followed before and does not run has ended; it may be about to be started all the same.
        known = self._positions.load(container.container_id) is not None
        self._follower.ended = known and not container.running
        try:
            # Now, so that the file is there before the container is started.
            self._follower.start()
        except OSError as error:
            self._reports.stuck(error)
        self._rounds.call(self._follower)

    @property
    def is_in_vain(self) -> bool:
        """Whether Docker, having started the container, does not write the file."""
        return not self._file.certain and not os.path.exists(self._file.path)

    async def settled(self) -> None:
        """Return when all that Docker has is written."""
        if self._follower.is_parked and not os.path.exists(self._file.path):
            return
        self._follower.ended = True
        await self._rounds.finish(self._follower)

    async def reopen(self) -> None:
        """Open the file anew."""
        self._follower.reopen()
        self._rounds.call(self._follower)

    async def forget(self) -> None:
        """Drop what is known of it."""
        self._rounds.leave_out(self._follower)
        self._follower.close()
        self._positions.remove(self.container.container_id)

    def stop(self) -> None:
        """Record how far it is, and let go of the files."""
        self._rounds.leave_out(self._follower)
        self._follower.save()
        self._follower.close()
