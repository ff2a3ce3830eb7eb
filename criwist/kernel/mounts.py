"""Image trees: an image's layers, mounted read-only beneath one directory.

The directory is made a small tmpfs of ours, each tree an overlay mount at ``<directory>/<container>/<number>``.  The
tmpfs has two uses.  An engine in another mount namespace sees neither it nor what is in it, and so refuses the path
instead of binding an empty directory; and after a reboot nothing is left to tidy up.  The label of a tree, its
image's id, is the *source* of the overlay mount, which the kernel shows in mountinfo: what is mounted, and of which
image, outlives us without a record.

Layers are named to the kernel as ``/proc/self/fd/N``.  Mount options have to fit in a page, where the real paths of
more than some forty layers do not, and a path with a colon or comma could not be written at all.

Overlay wants two layers at least when nothing is writable; an empty directory is the second of an image with one.

A tree is mounted nosuid, nodev and noexec, for the sake of the host, whose users may come by.  Containers get it as
a bind mount, and runc drops those flags from a bind that it makes read-only.
"""

from __future__ import annotations

import contextlib
import ctypes
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
from criwist.threads import run_to_its_end

# linux/mount.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8

#: Bytes of the tmpfs: a directory takes less than 1 KiB, and a node has at most some thousand trees.
_TMPFS_OPTIONS = "mode=0711,size=16m"
#: Of directories above a tree: an engine that remaps users binds it as somebody who is not root on the host.
_MODE = 0o711
_EMPTY = ".empty"

#: Symbolic links followed in one path, as in path_resolution(7).
_MOST_LINKS = 40

_libc = ctypes.CDLL(None, use_errno=True)


def resolve_within(root: str, path: str) -> str:
    """The path of a file beneath *root*, free of symbolic links; links and ``..`` are those of a process whose root
    directory *root* is, so that none leads out.

    True only as long as nobody changes the tree, which is read-only.

    :raises OSError: there is no such file, or there are too many links.
    """
    resolved: list[str] = []
    names = path.split("/")[::-1]
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            del resolved[-1:]
        elif name not in ("", "."):
            candidate = os.path.join(root, *resolved, name)
            if not stat.S_ISLNK(os.lstat(candidate).st_mode):
                resolved.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), candidate)
            target = os.readlink(candidate)
            if target.startswith("/"):
                resolved.clear()
            names += target.split("/")[::-1]
    return os.path.join(root, *resolved)


@implementer(ILayerMounts)
@define(eq=False)
class LayerMounts:
    """Trees beneath *directory*, an absolute path; mounting and unmounting is done in *threadpool*."""

    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _directory: str
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    async def mount(self, place: str, layers: Sequence[str], label: str) -> None:
        """See ILayerMounts."""
        await run_to_its_end(self._reactor, self._threadpool, self._mount, place, layers, label)

    async def unmount(self, place: str) -> None:
        """See ILayerMounts."""
        await run_to_its_end(self._reactor, self._threadpool, self._unmount, place)

    async def resolve(self, place: str, sub_path: str) -> str:
        """See ILayerMounts."""
        return await run_to_its_end(self._reactor, self._threadpool, self._resolve, place, sub_path)

    async def mounted(self) -> dict[str, str]:
        """See ILayerMounts."""
        return await run_to_its_end(self._reactor, self._threadpool, self._mounted)

    def _mount(self, place: str, layers: Sequence[str], label: str) -> None:
        try:
            with self._lock:
                directory = self._ready_directory()
            point = os.path.join(directory, place)
            _make_directory(os.path.dirname(point))
            _make_directory(point)
        except OSError as error:
            raise FailedPrecondition(f"no image can be mounted at {self._directory}: {error}") from error
        if len(layers) == 1:
            layers = [*layers, os.path.join(directory, _EMPTY)]
        with contextlib.ExitStack() as stack:
            descriptors = [_open_layer(layer, stack) for layer in layers]
            lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
            _mount(label, point, "overlay", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"lowerdir={lower}")

    def _ready_directory(self) -> str:
        os.makedirs(self._directory, mode=_MODE, exist_ok=True)
        directory = os.path.realpath(self._directory)
        if not any(mount.point == directory and mount.type == "tmpfs" for mount in _mounts()):
            _mount("criwist", directory, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, _TMPFS_OPTIONS)
        _make_directory(os.path.join(directory, _EMPTY))
        return directory

    def _unmount(self, place: str) -> None:
        point = os.path.join(os.path.realpath(self._directory), place)
        while _unmount(point):
            pass
        for directory in (point, os.path.dirname(point)):
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
    """Make it if it is missing, whatever the umask is."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        os.chmod(path, _MODE)


def _open_layer(layer: str, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FailedPrecondition(f"layer {layer} of the image cannot be opened here: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return descriptor


def _mount(source: str, point: str, kind: str, flags: int, options: str) -> None:
    arguments = (os.fsencode(source), os.fsencode(point), kind.encode(), ctypes.c_ulong(flags), options.encode())
    if _libc.mount(*arguments) != 0:
        number = ctypes.get_errno()
        problem = f"{kind} cannot be mounted at {point}: {os.strerror(number)}"
        if number in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(problem)
        raise FailedPrecondition(problem)


def _unmount(point: str) -> bool:
    """Take away the topmost mount at *point*; False if there is none."""
    if _libc.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOENT):
        return False
    problem = f"{point} cannot be unmounted: {os.strerror(number)}"
    raise PermissionDenied(problem) if number == errno.EPERM else FailedPrecondition(problem)
