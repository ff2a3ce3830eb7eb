"""Docker container names, as dockershim and cri-dockerd made them.

A sandbox is ``k8s_POD_<pod>_<namespace>_<uid>_<attempt>``, a container
``k8s_<container>_<pod>_<namespace>_<uid>_<attempt>``; if a stale container that cannot be removed has the name, a
seventh part of eight hex digits is added.  The CRI metadata of a container *is* its name: criwist adopts a pod of
another Docker shim by parsing it, so neither the order nor the separator may ever change.
"""

from __future__ import annotations

from attrs import frozen

_PREFIX = "k8s"
_SANDBOX = "POD"


@frozen
class ContainerName:
    """The parts of a Docker name; ``container`` is ``POD`` for a sandbox."""

    container: str
    pod: str
    namespace: str
    uid: str
    attempt: int

    @property
    def is_sandbox(self) -> bool:
        """Return whether the name is that of a sandbox's pause container."""
        return self.container == _SANDBOX

    def __str__(self) -> str:
        """Return the name for Docker, which adds a leading slash itself."""
        return "_".join((_PREFIX, self.container, self.pod, self.namespace, self.uid, str(self.attempt)))


def sandbox_name(pod: str, namespace: str, uid: str, attempt: int) -> ContainerName:
    """Return the name of a sandbox's pause container."""
    return ContainerName(_SANDBOX, pod, namespace, uid, attempt)


def parse_name(text: str) -> ContainerName | None:
    """Return the parts of a Docker container name, or None if no shim made it.

    :param text: with or without Docker's leading slash.
    """
    parts = text.lstrip("/").split("_")
    if len(parts) not in (6, 7) or parts[0] != _PREFIX:
        return None
    attempt = parts[5]
    if not (attempt.isascii() and attempt.isdigit()) or int(attempt) > 0xFFFFFFFF:
        return None
    return ContainerName(parts[1], parts[2], parts[3], parts[4], int(attempt))
