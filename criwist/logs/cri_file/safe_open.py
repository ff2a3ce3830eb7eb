"""Opening a log file at the path that kubelet asked for, and nowhere else.

We run as root and kubelet names a path; whoever can plant a symbolic link on the way, or at its end, could have us
write where he likes.  Pods can: one that mounts ``/var/log`` from the host is common.  So the path is walked one
component after the other:

* A directory is entered only as what it is.  A symbolic link is followed only if root or we own it (``/var/log`` on
  another disk), and then its target is walked by the same rule.  Anybody else's ends the walk with an error.
* Many pods run as root, too.  The last two directories, behind the first two of the path, therefore are never links:
  kubelet makes those of a pod and of a container itself.
* At the end a regular file is opened for appending.  A link, pipe or device that stands there loses its name to a new
  file; what it led to is not touched.

Directories that are missing are made, mode 0755, and files 0640, whatever the umask.
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
#: Directories at the beginning of a path that may be links, and others at its end that may not.
FREE_FIRST: Final = 2
PLAIN_LAST: Final = 2
#: What the kernel follows at most in one path.
MOST_LINKS: Final = 40

_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a pipe that nobody reads would wait.  Reading too: at a restart we look at what is there.
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


#: How the kernel refuses to open links, pipes that nobody reads, and devices that are not there.
_NO_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.ENODEV)


class Untrusted(OSError):
    """The path leads through a link that neither root nor we made, or where there is none to be."""


def open_log(path: str) -> int:
    """A descriptor of the file at *path*, which is absolute, for reading and appending; made if it is missing.

    :raises Untrusted: see above.
    :raises OSError: otherwise.
    """
    with _directory_of(path, make=True) as (directory, name):
        try:
            descriptor = os.open(name, _APPEND, dir_fd=directory)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            os.unlink(name, dir_fd=directory)
        descriptor = os.open(name, _APPEND | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=directory)
        os.fchmod(descriptor, FILE_MODE)
        return descriptor


def make_link(path: str, target: str) -> None:
    """Make *path* a symbolic link to *target*, in place of whatever file or link is there.

    :raises Untrusted: see above.
    :raises OSError: otherwise.
    """
    with _directory_of(path, make=True) as (directory, name):
        _remove(name, directory)
        os.symlink(target, name, dir_fd=directory)


def remove_link(path: str) -> None:
    """Remove *path* if it is a symbolic link.  Idempotent."""
    try:
        with _directory_of(path, make=False) as (directory, name):
            if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


@contextmanager
def _directory_of(path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The directory of *path*, walked to by the rule, open; and the name in it."""
    head, name = os.path.split(os.path.normpath(path))
    if not os.path.isabs(head) or not name:
        raise Untrusted(f"not an absolute path of a file: {path!r}")
    ahead = _components(head)
    plain = min(PLAIN_LAST, max(len(ahead) - FREE_FIRST, 0))
    links = 0
    current = os.open("/", _ENTER)
    try:
        while ahead:
            component = ahead.pop()
            try:
                following = _enter(component, current, make=make)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                links += 1
                target = _trusted_target(component, current, path, links)
                if len(ahead) < plain:
                    raise Untrusted(f"{component!r} on the way to {path} is a symbolic link") from None
                ahead += _components(target)
                if not target.startswith("/"):
                    continue
                following = os.open("/", _ENTER)
            os.close(current)
            current = following
        yield current, name
    finally:
        os.close(current)


def _components(path: str) -> list[str]:
    """The components in the order in which a stack gives them."""
    return [component for component in reversed(path.split("/")) if component not in ("", ".")]


def _enter(name: str, directory: int, *, make: bool) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(name, DIRECTORY_MODE, dir_fd=directory)
    except FileExistsError:
        return os.open(name, _ENTER, dir_fd=directory)
    descriptor = os.open(name, _ENTER, dir_fd=directory)
    os.fchmod(descriptor, DIRECTORY_MODE)
    return descriptor


def _trusted_target(name: str, directory: int, path: str, links: int) -> str:
    """Where the link *name* leads."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        raise NotADirectoryError(f"{name!r} on the way to {path} is not a directory")
    if not _is_trusted(status):
        raise Untrusted(f"{name!r} on the way to {path} is a symbolic link of user {status.st_uid}")
    if links > MOST_LINKS:
        raise Untrusted(f"too many symbolic links on the way to {path}")
    return os.readlink(name, dir_fd=directory)


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _is_trusted(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid())
