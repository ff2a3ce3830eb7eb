"""Opens a log file at the path that kubelet asked for, and nowhere else.

criwist runs as root and kubelet names a path.  A user who can plant a symbolic link on the way to it, or at its end,
could make criwist write to a file of his choice.  Pods can do that: a pod that mounts ``/var/log`` from the host is
common.  The path is therefore walked one component after the other:

* A directory is entered only if it is a directory.  A symbolic link is followed only if root or criwist's user owns it
  (``/var/log`` on another disk), and then its target is walked by the same rule.  Any other user's link ends the walk
  with an error.
* Many pods run as root, too.  The last two directories, after the first two of the path, therefore are never links:
  kubelet itself makes the directories of a pod and of a container.
* At the end, a regular file is opened for appending.  A link, pipe or device in its place loses its name to a new file;
  the target of the link is not touched.

Missing directories are made with mode 0755, and files with 0640, whatever the umask is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

DIRECTORY_MODE: Final = 0o755
FILE_MODE: Final = 0o640
#: Directories at the beginning of a path that may always be links, and those at its end that otherwise may not.
FIRST_MAY_BE_LINKS: Final = 2
LAST_ARE_NOT_LINKS: Final = 2
#: Links that the kernel follows at most in one path.
MAX_LINKS: Final = 40

_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a pipe without a reader would wait.  For reading, too: a restart reads what the file holds.
_FILE_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: The kernel's errors for links, pipes without a reader, and missing devices.
_NOT_A_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.ENODEV)


class UntrustedPath(OSError):
    """The path has a link that neither root nor criwist's user owns, or a link where none may be."""


def open_log(path: str) -> int:
    """Open the file at *path*, which is absolute, for reading and appending; make it if it is missing.

    Returns the descriptor, which the caller closes.

    :raises UntrustedPath: see above.
    :raises OSError: otherwise.
    """
    with _open_parent(path, make=True) as (directory, name):
        try:
            descriptor = os.open(name, _FILE_FLAGS, dir_fd=directory)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _NOT_A_FILE:
                raise
            os.unlink(name, dir_fd=directory)
        descriptor = os.open(name, _FILE_FLAGS | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=directory)
        os.fchmod(descriptor, FILE_MODE)
        return descriptor


def make_link(path: str, target: str) -> None:
    """Make *path* a symbolic link to *target*, in place of a file or link that is there.

    :raises UntrustedPath: see above.
    :raises OSError: otherwise.
    """
    with _open_parent(path, make=True) as (directory, name):
        _remove(name, directory)
        os.symlink(target, name, dir_fd=directory)


def remove_link(path: str) -> None:
    """Remove *path* if it is a symbolic link.  Idempotent."""
    try:
        with _open_parent(path, make=False) as (directory, name):
            if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


@contextmanager
def _open_parent(path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """Walk to the directory of *path*; yield its descriptor, and the name in it."""
    head, name = os.path.split(os.path.normpath(path))
    if not os.path.isabs(head) or not name:
        raise UntrustedPath(f"not an absolute path of a file: {path!r}")
    components = _components(head)
    without_links = min(LAST_ARE_NOT_LINKS, max(len(components) - FIRST_MAY_BE_LINKS, 0))
    links = 0
    current = os.open("/", _DIRECTORY_FLAGS)
    try:
        while components:
            component = components.pop()
            try:
                following = _open_directory(component, current, make=make)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                links += 1
                target = _trusted_target(component, current, path, links)
                if len(components) < without_links:
                    raise UntrustedPath(f"{component!r} on the way to {path} is a symbolic link") from None
                components += _components(target)
                if not target.startswith("/"):
                    continue
                following = os.open("/", _DIRECTORY_FLAGS)
            os.close(current)
            current = following
        yield current, name
    finally:
        os.close(current)


def _components(path: str) -> list[str]:
    """Return the components as a stack: the first is on top."""
    return [component for component in reversed(path.split("/")) if component not in ("", ".")]


def _open_directory(name: str, directory: int, *, make: bool) -> int:
    try:
        return os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, DIRECTORY_MODE, dir_fd=directory)
    except FileExistsError:
        return os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    descriptor = os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    os.fchmod(descriptor, DIRECTORY_MODE)
    return descriptor


def _trusted_target(name: str, directory: int, path: str, links: int) -> str:
    """Return the target of the link *name*."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        raise NotADirectoryError(f"{name!r} on the way to {path} is not a directory")
    if not _is_trusted(status):
        raise UntrustedPath(f"{name!r} on the way to {path} is a symbolic link of user {status.st_uid}")
    if links > MAX_LINKS:
        raise UntrustedPath(f"too many symbolic links on the way to {path}")
    return os.readlink(name, dir_fd=directory)


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _is_trusted(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())
