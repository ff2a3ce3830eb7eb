"""Where Docker keeps the log of a container, if it does so in a file that we can read.

Three kinds of file below ``<root>/containers/<id>`` hold entries that we know: that of ``json-file``, that of
``local``, and the copy in local's format that the engine keeps for drivers that cannot be read back.  An engine on
another host has none of them here; ``journald`` keeps its own books, and ``none`` keeps none.
"""

from __future__ import annotations

import os
from typing import Final

from attrs import frozen

from criwist.interfaces.logs import LoggedContainer
from criwist.logs.docker_files.docker_log import JSON_FILE, LOCAL, Format

#: Has no log at all.
NO_DRIVER: Final = "none"
_OWN_BOOKS: Final = (NO_DRIVER, "journald")


@frozen
class EngineFile:
    """A log file of Docker's."""

    path: str
    format: Format
    #: The driver writes it whatever its options are.
    certain: bool = True


def engine_file(container: LoggedContainer, root_directory: str) -> EngineFile | None:
    """The file that Docker writes the container's log to, or will once it starts it; None if there is none for us."""
    directory = os.path.join(root_directory, "containers", container.container_id)
    if container.driver == "json-file":
        name = f"{container.container_id}-json.log"
        file = EngineFile(container.engine_path or os.path.join(directory, name), JSON_FILE)
        return file if _is_readable(os.path.dirname(file.path)) else None
    if container.driver in _OWN_BOOKS or not _is_readable(directory):
        return None
    if container.driver == "local":
        return EngineFile(os.path.join(directory, "local-logs/container.log"), LOCAL)
    # Unless the option cache-disabled is set, or the driver can be read back itself.
    return EngineFile(os.path.join(directory, "container-cached.log"), LOCAL, certain=False)


def _is_readable(directory: str) -> bool:
    return os.access(directory, os.R_OK | os.X_OK, effective_ids=True)
