"""Bind mounts that keep a pod's network namespace after its pause has died.

A plugin's DEL does all of its work only inside the pod's namespace: the bridge plugin, for one, leaves its
masquerading rules behind when the namespace is gone.  A namespace exists as long as a process or a mount refers to it.
So it is bind-mounted before ADD below ``/run/netns``, where ``ip netns`` and the daemons of some networks search for
namespaces, and unmounted after DEL.  The pause may die in between.

Where mounting is refused, plugins get ``/proc/<pid>/ns/net``, as from the older shims.
"""

from __future__ import annotations

import os

from attrs import define, field
from twisted.logger import Logger

from criwist import syscalls

DIRECTORY = "/run/netns"
_PREFIX = "criwist-"


@define(eq=False)
class NetnsMounts:
    """Bind mounts ``<directory>/criwist-<sandbox id>``."""

    directory: str = DIRECTORY
    _log: Logger = field(factory=Logger, kw_only=True)

    def path(self, sandbox_id: str) -> str:
        """Return the path at which the sandbox's namespace is mounted, if it is."""
        return os.path.join(self.directory, _PREFIX + sandbox_id)

    def mount(self, sandbox_id: str, netns: str) -> str:
        """Mount the namespace at path *netns*; return the path to pass to plugins.

        That is *netns* itself where mounting fails, which is logged.
        """
        path = self.path(sandbox_id)
        try:
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
            syscalls.mount(netns, path, flags=syscalls.MS_BIND)
        except OSError as problem:
            self._log.warn(
                "the network namespace of sandbox {sandbox} cannot be mounted at {path}: {problem}; if its pause dies "
                "before teardown, some plugins leave resources behind",
                sandbox=sandbox_id,
                path=path,
                problem=problem,
            )
            self.unmount(sandbox_id)
            return netns
        return path

    def unmount(self, sandbox_id: str) -> None:
        """Unmount the sandbox's namespace and remove the mount point.  Idempotent; failures are logged."""
        path = self.path(sandbox_id)
        try:
            syscalls.unmount(path, syscalls.MNT_DETACH)
        except OSError as problem:
            # The file does not exist, or nothing is mounted on it: removing it reports any other failure.
            self._log.debug("{path} is not mounted: {problem}", path=path, problem=problem)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as problem:
            self._log.warn("{path} cannot be removed: {problem}", path=path, problem=problem)
