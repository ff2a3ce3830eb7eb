"""Files and directories of the host that requests name.

Only small regular files are read: the path comes from a client, and a FIFO or an endless device must not block the
reactor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from criwist import errors

#: Bytes.  A seccomp profile has some tens of KiB; a larger file is not one.
MAX_FILE = 4 * 1024 * 1024


def read_files(paths: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of those of *paths* that exist.  The caller reports the missing ones in the request's terms.

    :raises FailedPrecondition: a file cannot be read, is too large, or is not a regular file.
    """
    contents = {}
    for path in paths:
        try:
            contents[path] = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise errors.FailedPrecondition(f"cannot read {path}: {error.strerror}") from error
    return contents


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise errors.FailedPrecondition(f"{path} is not a regular file")
        if facts.st_size > MAX_FILE:
            raise errors.FailedPrecondition(f"{path} is larger than {MAX_FILE} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE)
    finally:
        os.close(descriptor)  # also of a directory, for which Python's open() fails


def make_directory(path: str, *, field: str) -> None:
    """Make a directory and its parents, mode 0755, unless it exists.

    :param field: the request's field that names it.
    :raises InvalidArgument: something else is in its place.
    :raises Internal: the filesystem refuses.
    """
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise errors.InvalidArgument(field, f"cannot make the directory {path}: {error.strerror}") from error
    except OSError as error:
        raise errors.Internal(f"cannot make the directory {path}: {error.strerror}") from error


def make_missing_directories(paths: Iterable[str], *, field: str) -> None:
    """Make a directory at each path that does not exist, as the older shims do for the sources of mounts.

    For a dangling link, the directory is made at the link's target.
    """
    for path in paths:
        if not os.path.exists(path):
            make_directory(os.path.realpath(path), field=field)
