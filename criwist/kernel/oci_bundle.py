"""The OCI specification of a running container, which the Engine API does not return.

An OCI bundle is a directory with a ``config.json`` (OCI runtime specification, "Filesystem Bundle").  containerd
creates one for each container and starts the container's shim in it.  The shim is a subreaper, so it is the parent of
the container's first process, whatever runtime ran in between.  So the working directory of the pid's parent is the
bundle, wherever engine and containerd keep their state.
"""

from __future__ import annotations

import json
import os
from typing import Any

from criwist.kernel.procfs import PROC, read_stat

#: Bytes.  A specification has some ten kilobytes; a larger one than this is left out of a response of 16 MiB.
_SIZE_LIMIT = 1 << 20


def runtime_spec(pid: int, container: str, proc: str = PROC) -> dict[str, Any] | None:
    """Return the specification of a running container, None if it cannot be read on this machine.

    :param pid: of its first process.
    :param container: the 64-digit id, which is the name of the bundle.
    """
    process = read_stat(pid, proc)
    if process is None:
        return None
    bundle = f"{proc}/{process.parent}/cwd"
    try:
        if os.path.basename(os.readlink(bundle)) != container:
            return None
        with open(f"{bundle}/config.json", "rb") as file:
            text = file.read(_SIZE_LIMIT + 1)
        document = json.loads(text) if len(text) <= _SIZE_LIMIT else None
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
