"""The location of a container's log in Docker's directory, if it is a file that criwist can read.

Three kinds of file below ``<root>/containers/<id>`` have a known format: that of ``json-file``, that of ``local``, and
the copy, in the format of ``local``, that the engine keeps for drivers that cannot be read back ("dual logging").  An
engine on another host has none of them here.  ``journald`` keeps the log itself, and ``none`` keeps no log.
"""

from __future__ import annotations

import os
from typing import Final

from attrs import frozen

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.docker_files.docker_log import JSON_FILE, LOCAL, Format

#: The driver that keeps no log.
NO_DRIVER: Final = "none"
#: Drivers for which Docker writes no file.
_DRIVERS_WITHOUT_FILE: Final = (NO_DRIVER, "journald")


@frozen
class DockerLogFile:
    """The log file of one container that Docker writes, or will write."""

    path: str
    format: Format
    #: The driver writes the file whatever its options are.
    is_certain: bool = True


def docker_log_file(container: LoggedContainer, root_directory: str) -> DockerLogFile | None:
    """Return the file that Docker writes the container's log to, or will once it starts it.

    None if there is no such file, or criwist cannot read it.

    :param root_directory: Docker's ``DockerRootDir``.
    """
    directory = os.path.join(root_directory, "containers", container.container_id)
    if container.driver == "json-file":
        name = f"{container.container_id}-json.log"
        file = DockerLogFile(container.engine_path or os.path.join(directory, name), JSON_FILE)
        return file if _is_readable(os.path.dirname(file.path)) else None
    if container.driver in _DRIVERS_WITHOUT_FILE or not _is_readable(directory):
        return None
    if container.driver == "local":
        return DockerLogFile(os.path.join(directory, "local-logs/container.log"), LOCAL)
    # Not written with the option cache-disabled, or if the driver can be read back itself.
    return DockerLogFile(os.path.join(directory, "container-cached.log"), LOCAL, is_certain=False)


def _is_readable(directory: str) -> bool:
    return os.access(directory, os.R_OK | os.X_OK, effective_ids=True)
