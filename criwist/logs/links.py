"""Logs as older shims had them: a symbolic link at kubelet's path to Docker's JSON file.

Containers that were made by such a shim keep theirs, and ``--log-mode symlink`` gives one to everybody.  Kubelet reads
Docker's format through it still.  It cannot rotate the file: it renames the link, asks for a new one, and would pack
the old one's target the next time.  So reopening makes the link anew and removes the renamed ones, which hold nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress

from attrs import define
from twisted.logger import Logger

from criwist.errors import FailedPrecondition
from criwist.interfaces.logs import LoggedContainer
from criwist.logs.cri_file.safe_open import make_link, remove_link


def is_linked(container: LoggedContainer) -> bool:
    """Whether the container's log is a link to Docker's file, or was one when Docker still had that."""
    try:
        target = os.readlink(container.path)
    except OSError:
        return False
    return os.path.basename(target) == f"{container.container_id}-json.log" or target == container.engine_path


@define(eq=False)
class LinkedLog:
    """The link of one container, to *target*; ``""``: Docker writes no JSON file."""

    _container: LoggedContainer
    _target: str
    _log = Logger()

    def follow(self, container: LoggedContainer) -> None:
        """See to the link."""
        path = self._container.path
        if not self._target:
            self._log.warn(
                "There is no log of container {container}: --log-mode symlink needs the log driver json-file, it has "
                "{driver}",
                container=self._container.container_id,
                driver=self._container.driver,
            )
        elif not os.path.islink(path) or os.readlink(path) != self._target:
            try:
                make_link(path, self._target)
            except OSError as error:
                self._log.error(
                    "The log of container {container} cannot be linked: {problem}",
                    container=self._container.container_id,
                    problem=str(error),
                )

    async def settled(self) -> None:
        """What Docker has written is there to be read."""

    async def reopen(self) -> None:
        """Make the link anew, and remove those that kubelet has renamed."""
        if not self._target:
            raise FailedPrecondition(
                f"container {self._container.container_id} has no log: its log driver is {self._container.driver}"
            )
        path = self._container.path
        make_link(path, self._target)
        directory, name = os.path.split(path)
        for entry in os.listdir(directory):
            renamed = os.path.join(directory, entry)
            if entry.startswith(name + ".") and os.path.islink(renamed) and os.readlink(renamed) == self._target:
                remove_link(renamed)

    async def forget(self) -> None:
        """Docker's file is gone: remove the link."""
        with suppress(OSError):
            remove_link(self._container.path)

    def stop(self) -> None:
        """Nothing: the link stays."""
