"""Network namespaces that outlive their pause.

A plugin's DEL does its whole work only inside the pod's namespace: the bridge plugin, for one, leaves its masquerading
rules behind when the namespace is gone.  A namespace lives as long as a process or a mount holds it, so before ADD it
is bind-mounted below ``/run/netns``, where ``ip netns`` and the daemons of some networks look for namespaces, and let
go of after DEL.  The pause may die in between as it likes.

Where mounting is refused, plugins get ``/proc/<pid>/ns/net``, as from the older shims.
"""

from __future__ import annotations

import ctypes
import os

from attrs import define, field
from twisted.logger import Logger

DIRECTORY = "/run/netns"
_PREFIX = "criwist-"
_MS_BIND = 4096
_MNT_DETACH = 2


@define(eq=False)
class NetnsMounts:
    """Bind mounts ``<directory>/criwist-<sandbox id>``."""

    directory: str = DIRECTORY
    _log: Logger = field(factory=Logger, kw_only=True)

    def path(self, sandbox_id: str) -> str:
        """Where the sandbox's namespace is pinned, if it is."""
        return os.path.join(self.directory, _PREFIX + sandbox_id)

    def pin(self, sandbox_id: str, namespace: str) -> str:
        """Hold the namespace at path *namespace*; returns the path to hand to plugins."""
        path = self.path(sandbox_id)
        try:
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
            _system("mount", namespace.encode(), path.encode(), None, ctypes.c_ulong(_MS_BIND), None)
        except OSError as problem:
            self._log.warn(
                "the network namespace of sandbox {sandbox} cannot be held at {path}: {problem}; should its pause die "
                "early, some plugins will leave something behind",
                sandbox=sandbox_id,
                path=path,
                problem=problem,
            )
            self.unpin(sandbox_id)
            return namespace
        return path

    def unpin(self, sandbox_id: str) -> None:
        """Let go.  Idempotent."""
        path = self.path(sandbox_id)
        try:
            _system("umount2", path.encode(), ctypes.c_int(_MNT_DETACH))
        except OSError as problem:
            # Not there, or a file that nothing is mounted on: removing the file tells the rest.
            self._log.debug("{path} is not mounted: {problem}", path=path, problem=problem)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as problem:
            self._log.warn("{path} stays: {problem}", path=path, problem=problem)


def _system(name: str, *arguments: object) -> None:
    """Call libc's *name*.

    :raises OSError: it failed.
    """
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
