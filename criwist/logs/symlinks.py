"""Logs as older shims made them: a symbolic link at kubelet's path to Docker's JSON file.

A container of an older shim keeps its link, and ``--log-mode symlink`` makes a link for every container.  Kubelet still
reads Docker's format through it.  Kubelet cannot rotate such a log: it renames the link, calls ReopenContainerLog, and
would compress the target of the renamed link at the next rotation.  Reopening therefore makes the link again and
removes the renamed links, which hold no lines.
"""

from __future__ import annotations

import os
from contextlib import suppress

from attrs import define
from twisted.logger import Logger

from criwist.errors import FailedPrecondition
from criwist.interfaces.logs import LoggedContainer
from criwist.logs.cri_file.safe_open import make_link, remove_link


def is_symlinked(container: LoggedContainer) -> bool:
    """Whether the container's log path is a link to Docker's JSON file, even if Docker has removed that file."""
    try:
        target = os.readlink(container.path)
    except OSError:
        return False
    return os.path.basename(target) == f"{container.container_id}-json.log" or target == container.engine_path


@define(eq=False)
class SymlinkLog:
    """The link of one container to *target*; ``""``: Docker writes no JSON file."""

    _container: LoggedContainer
    _target: str
    _log = Logger()

    def follow(self, container: LoggedContainer) -> None:
        """Make the link if it is missing or has another target."""
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
                    "The link to the log of container {container} cannot be made: {problem}",
                    container=self._container.container_id,
                    problem=str(error),
                )

    async def settled(self) -> None:
        """Return at once: kubelet reads Docker's file itself."""

    async def reopen(self) -> None:
        """Make the link again, and remove the links that kubelet has renamed."""
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
        """Remove the link: Docker has removed its target."""
        with suppress(OSError):
            remove_link(self._container.path)

    def stop(self) -> None:
        """Do nothing: the link stays."""
