"""The versions of the Engine API that criwist speaks, and what engines of older versions lack.

Each :class:`Difference` is a thing that engines do from one API version on.  The other modules ask
``CDI_DEVICES.supported_by(engine)`` and compare no versions.  ``docs/cri-support.md``, "Engine versions", has the same
table for operators, and ``tests/test_engine_differences.py`` holds both to the behaviour.

Two kinds of differences are not here.  What an engine reports about itself (cgroup version, storage driver, features
of its runtimes) is a member of :class:`~criwist.interfaces.engine.EngineFacts`.  Texts by which engines report an error
are predicates in :mod:`criwist.docker.error_responses`.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from criwist.interfaces.engine import EngineFacts

ApiVersion = tuple[int, int]

#: Debian 12's engine, 20.10.  Older ones lack ``CgroupnsMode`` and have cgroup v1 only.
OLDEST_API: Final[ApiVersion] = (1, 41)
#: The newest version whose changes were read.  Newer engines speak this one too, for years.
NEWEST_API: Final[ApiVersion] = (1, 56)


def version_text(version: ApiVersion) -> str:
    """Return the version as the Engine API writes it: ``1.41``."""
    return f"{version[0]}.{version[1]}"


@frozen
class Difference:
    """What engines do from one API version on."""

    #: What the engine does, as the table in ``docs/cri-support.md`` writes it.
    ability: str
    #: The first API version that has it.
    since: ApiVersion
    #: The first release of Docker Engine that speaks this API version.
    release: str
    #: What criwist does with an older engine.
    below: str

    def supported_by(self, engine: EngineFacts) -> bool:
        """Return whether the API version in use with *engine* has it."""
        return engine.api_version >= self.since

    @property
    def requirement(self) -> str:
        """For error texts: ``Docker Engine 25.0 (API 1.44)``."""
        return f"Docker Engine {self.release} (API {version_text(self.since)})"


CREATE_MOUNTPOINT: Final = Difference(
    ability="makes a directory where the host path of a bind mount does not exist (`CreateMountpoint`)",
    since=(1, 42),
    release="23.0",
    below="criwist makes the directory before it creates the container",
)
OCI_ANNOTATIONS: Final = Difference(
    ability="passes annotations to the OCI runtime (`HostConfig.Annotations`)",
    since=(1, 43),
    release="24.0",
    below="annotations are kept as Docker labels only",
)
CDI_DEVICES: Final = Difference(
    ability="resolves devices by CDI name, if CDI is enabled there",
    since=(1, 44),
    release="25.0",
    below="a container with `CDI_devices` is refused",
)
READ_ONLY_RECURSION: Final = Difference(
    ability="makes read-only mounts recursive unless the request forbids it (`ReadOnlyNonRecursive`)",
    since=(1, 44),
    release="25.0",
    below="read-only mounts are never recursive; `recursive_read_only` is refused",
)
IMAGE_MOUNTS: Final = Difference(
    ability="mounts images itself (mounts of type `image`)",
    since=(1, 48),
    release="28.0",
    below="criwist mounts the image's overlay2 layers; with the containerd image store it refuses",
)

DIFFERENCES: Final = (CREATE_MOUNTPOINT, OCI_ANNOTATIONS, CDI_DEVICES, READ_ONLY_RECURSION, IMAGE_MOUNTS)
