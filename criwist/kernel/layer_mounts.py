"""Image trees: an image's layers, mounted read-only beneath one directory.

A small tmpfs is mounted on the directory, and each tree is an overlay mount at ``<directory>/<container>/<number>``.
The tmpfs has two uses.  An engine in another mount namespace sees neither the tmpfs nor the trees in it, so it rejects
the path instead of binding an empty directory.  After a reboot nothing is left to clean up.  The label of a tree, its
image's id, is the *source* of the overlay mount, which the kernel shows in mountinfo.  So a restarted criwist reads
from the kernel which images are mounted, and needs no record.

Layers are passed to the kernel as ``/proc/self/fd/N``.  Mount options must fit in a page.  The real paths of more than
about forty layers do not fit, and a path with a colon or a comma cannot be written in the options at all.

A read-only overlay needs at least two layers; an image with one layer gets an empty directory as the second.

A tree is mounted nosuid, nodev and noexec to protect the host, whose users can reach it.  Containers get it as a bind
mount, and runc drops those flags from a bind mount that it makes read-only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from criwist.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from criwist.interfaces.kernel import ILayerMounts
from criwist.kernel.mountinfo import Mount, parse_mountinfo
from criwist.kernel.procfs import PROC, read_text
from criwist.syscalls import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    UMOUNT_NOFOLLOW,
    mount,
    unmount,
)
from criwist.threads import run_to_its_end

#: Size of the tmpfs: a directory takes less than 1 KiB, and a node has at most a few thousand trees.
_TMPFS_OPTIONS = "mode=0711,size=16m"
#: Mode of the directories above a tree: an engine that remaps users binds it as a user who is not the host's root.
_MODE = 0o711
_EMPTY = ".empty"

#: Limit of symbolic links that are followed in one path, as in path_resolution(7).
_LINK_LIMIT = 40


def resolve_within(root: str, path: str) -> str:
    """Return the path, without symbolic links, of a file beneath *root*.

    Links and ``..`` resolve as for a process whose root directory is *root*, so none leads out of it.  The result
    holds only while the tree does not change; an image tree is read-only.

    :raises OSError: there is no such file, or there are too many links.
    """
    resolved: list[str] = []
    names = path.split("/")[::-1]
    followed = 0
    while names:
        name = names.pop()
        if name == "..":
            del resolved[-1:]
        elif name not in ("", "."):
            candidate = os.path.join(root, *resolved, name)
            if not stat.S_ISLNK(os.lstat(candidate).st_mode):
                resolved.append(name)
                continue
            followed += 1
            if followed > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), candidate)
            target = os.readlink(candidate)
            if target.startswith("/"):
                resolved.clear()
            names += target.split("/")[::-1]
    return os.path.join(root, *resolved)


@implementer(ILayerMounts)
@define(eq=False)
class LayerMounts:
    """Trees beneath *directory*, an absolute path.  System calls run in *threadpool*."""

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _directory: str
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    async def mount(self, place: str, layers: Sequence[str], label: str) -> None:
        await run_to_its_end(self._reactor, self._threadpool, self._mount, place, layers, label)

    async def unmount(self, place: str) -> None:
        await run_to_its_end(self._reactor, self._threadpool, self._unmount, place)

    async def resolve(self, place: str, sub_path: str) -> str:
        return await run_to_its_end(self._reactor, self._threadpool, self._resolve, place, sub_path)

    async def mounted(self) -> dict[str, str]:
        return await run_to_its_end(self._reactor, self._threadpool, self._mounted)

    def _mount(self, place: str, layers: Sequence[str], label: str) -> None:
        try:
            with self._lock:
                directory = self._prepare_directory()
            target = os.path.join(directory, place)
            _make_directory(os.path.dirname(target))
            _make_directory(target)
        except OSError as error:
            raise FailedPrecondition(f"no image can be mounted at {self._directory}: {error}") from error
        if len(layers) == 1:
            layers = [*layers, os.path.join(directory, _EMPTY)]
        with contextlib.ExitStack() as stack:
            descriptors = [_open_layer(layer, stack) for layer in layers]
            lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
            _mount(label, target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, f"lowerdir={lower}")

    def _prepare_directory(self) -> str:
        os.makedirs(self._directory, mode=_MODE, exist_ok=True)
        directory = os.path.realpath(self._directory)
        if not any(mount.point == directory and mount.type == "tmpfs" for mount in _mounts()):
            _mount("criwist", directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, _TMPFS_OPTIONS)
        _make_directory(os.path.join(directory, _EMPTY))
        return directory

    def _unmount(self, place: str) -> None:
        target = os.path.join(os.path.realpath(self._directory), place)
        while _unmount(target):
            pass
        for directory in (target, os.path.dirname(target)):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                    raise FailedPrecondition(f"{directory} cannot be removed: {error.strerror}") from error

    def _resolve(self, place: str, sub_path: str) -> str:
        try:
            return resolve_within(os.path.join(self._directory, place), sub_path)
        except OSError as error:
            raise InvalidArgument("image_sub_path", f"{sub_path!r} is not in the image: {error.strerror}") from error

    def _mounted(self) -> dict[str, str]:
        below = os.path.realpath(self._directory) + "/"
        trees = [mount for mount in _mounts() if mount.type == "overlay" and mount.point.startswith(below)]
        return {mount.point.removeprefix(below): mount.source for mount in trees}


def _mounts() -> list[Mount]:
    return parse_mountinfo(read_text(f"{PROC}/self/mountinfo") or "")


def _make_directory(path: str) -> None:
    """Make a directory if it is missing, with a mode that does not depend on the umask."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, _MODE)


def _open_layer(layer: str, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FailedPrecondition(f"image layer {layer} cannot be opened on this machine: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _mount(source: str, target: str, filesystem: str, flags: int, options: str) -> None:
    try:
        mount(source, target, filesystem, flags, options)
    except OSError as error:
        problem = f"{filesystem} cannot be mounted at {target}: {error.strerror}"
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(problem) from error
        raise FailedPrecondition(problem) from error


def _unmount(target: str) -> bool:
    """Remove the topmost mount at *target*; return False if there is none."""
    try:
        unmount(target, MNT_DETACH | UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        problem = f"{target} cannot be unmounted: {error.strerror}"
        raise (PermissionDenied if error.errno == errno.EPERM else FailedPrecondition)(problem) from error
    return True
