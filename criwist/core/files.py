"""The few files and directories of the host that requests name.

Only regular files are read, and only small ones: a path comes from a client, and a FIFO or an endless device
must not hold the reactor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from criwist import errors

#: A seccomp profile has some tens of KiB; what is larger is none.
MAX_FILE = 4 * 1024 * 1024


async def read_files(paths: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of files by path.

    :param paths: the request field that names each path, for errors.
    :raises InvalidArgument: a file is missing, too large, or not a regular file.
    """
    return {path: _read(path, field) for path, field in paths.items()}


def _read(path: str, field: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise errors.InvalidArgument(field, f"cannot read {path}: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise errors.InvalidArgument(field, f"{path} is not a regular file")
        if facts.st_size > MAX_FILE:
            raise errors.InvalidArgument(field, f"{path} is larger than {MAX_FILE} bytes")
        return file.read(MAX_FILE)


async def make_directory(path: str, *, field: str) -> None:
    """Make a directory and its parents, mode 0755; one that exists is left as it is.

    :raises InvalidArgument: something else is in its place.
    """
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise errors.InvalidArgument(field, f"cannot make the directory {path}: {error.strerror}") from error
    except OSError as error:
        raise errors.Internal(f"cannot make the directory {path}: {error.strerror}") from error


async def make_missing_directories(paths: Iterable[str], *, field: str) -> None:
    """Make each path that does not exist a directory, as the older shims do for the sources of mounts."""
    for path in paths:
        if not os.path.lexists(path) or not os.path.exists(path):
            await make_directory(os.path.realpath(path), field=field)
