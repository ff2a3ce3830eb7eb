"""The OCI specification that a container's first process was started by, which no engine tells.

An OCI bundle is a directory with a ``config.json`` (OCI runtime specification, "Filesystem Bundle").  containerd
makes one for each container and starts the container's shim in it, and the shim is the parent of the first process:
as a reaper of what it started, whatever the runtime in between was.  So the way leads from the pid to the parent's
working directory, wherever engine and containerd keep their state.
"""

from __future__ import annotations

import json
import os
from typing import Any

from criwist.kernel.procfs import PROC, read_stat

#: Bytes.  A specification is some ten kilobytes; what is larger than this is not read into an answer of 16 MiB.
_MOST = 1 << 20


def runtime_spec(pid: int, container: str, proc: str = PROC) -> dict[str, Any] | None:
    """The specification of a running container; None if it cannot be read here.

    :param pid: of its first process.
    :param container: the 64-digit id, by which the bundle is named.
    """
    process = read_stat(pid, proc)
    if process is None:
        return None
    place = f"{proc}/{process.parent}/cwd"
    try:
        if os.path.basename(os.readlink(place)) != container:
            return None
        with open(f"{place}/config.json", "rb") as file:
            text = file.read(_MOST + 1)
        document = json.loads(text) if len(text) <= _MOST else None
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
