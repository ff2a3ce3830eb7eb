"""What the core asks of the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import Interface


class IProcesses(Interface):
    """Processes of the host, named by the engine's pids."""

    async def kill_tree(pid: int, container: str = "") -> int:
        """SIGKILL *pid* and all its descendants, those it left to a reaper included where they can be told.

        Returns how many were signalled; 0 if it is gone already.

        :param container: the 64-digit id; a process whose cgroup does not carry it is somebody else's, who has got
            the number since, or lives on another host than the engine, and is left alone: 0.
        """


class ILayerMounts(Interface):
    """Read-only trees made of an image's layers.  Each has a place, ``<container name>/<number>``, and a label.

    Errors: ``PermissionDenied`` (we may not mount), ``FailedPrecondition`` (the kernel cannot, or a layer is not on
    this machine).
    """

    async def mount(place: str, layers: Sequence[str], label: str) -> None:
        """Mount *layers*, top layer first, at a place where nothing is mounted.

        The label outlives us, see :meth:`mounted`.
        """

    async def unmount(place: str) -> None:
        """Take the tree away; containers that have it keep it.  Idempotent."""

    async def resolve(place: str, sub_path: str) -> str:
        """The host path of a file in a mounted tree; ``""``: of the tree.  No link in the tree leads out of it.

        Not there: ``InvalidArgument`` (``image_sub_path``).
        """

    async def mounted() -> Mapping[str, str]:
        """Place to label of every tree that is mounted, by whichever life of ours."""
