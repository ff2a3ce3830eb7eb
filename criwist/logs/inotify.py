"""One inotify descriptor for all logs (inotify(7)).

Twisted's own inotify builds a file path and calls back for every event; dockerd causes an event for every line of
every container, two hundred thousand a second under load.  Here a file is watched *once*: the kernel reports the first
change and drops the watch, and the file's reader watches it again when it has reached the end.  There is never more
than one event for a file to read, however fast the file grows.  A directory, in which files are made rarely, is watched
until it is unwatched.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_CLOEXEC: Final = os.O_CLOEXEC
_NONBLOCK: Final = os.O_NONBLOCK

_MODIFY: Final = 0x0002
_MOVED_TO: Final = 0x0080
_CREATE: Final = 0x0100
_DELETE_SELF: Final = 0x0400
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x01000000
_ONESHOT: Final = 0x80000000

_EVENT: Final = Struct("iIII")
#: Bytes of one read: some two thousand events.
_READ_SIZE: Final = 64 << 10
#: Seconds between two reads, in which events gather.  Where many containers write a line now and then, one wake-up of
#: the reactor serves many of them.
READ_INTERVAL: Final = 0.02

#: Nothing exists at the path.
MISSING: Final = -1
#: The kernel has no watches left.
REFUSED: Final = -2


@implementer(IReadDescriptor)
@define(eq=False)
class Inotify:
    """Calls back on the thread of *reactor*, an IReactorFDSet and IReactorTime, from :meth:`start` to :meth:`stop`."""

    _reactor: Any
    _log: Logger = field(factory=Logger, kw_only=True)
    _descriptor: int = field(default=-1, init=False)
    _libc: Any = field(default=None, init=False)
    _callbacks: dict[int, Callable[[], None]] = field(factory=dict, init=False)
    _is_failure_logged: bool = field(default=False, init=False)
    _next_read: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Open the descriptor.  If the kernel has none left, that is logged, and every watch is refused."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if self._descriptor < 0:
            self._log_failure(ctypes.get_errno())
            return
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Close the descriptor.  Idempotent."""
        if self._next_read is not None:
            self._next_read.cancel()
            self._next_read = None
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1
        self._callbacks.clear()

    def watch_file_once(self, path: str, callback: Callable[[], None]) -> int:
        """Call *callback* once, after the next change of the file's content.

        Returns a watch for :meth:`unwatch`, :data:`MISSING`, or :data:`REFUSED`.
        """
        return self._add(path, _MODIFY | _ONESHOT, callback)

    def watch_directory(self, path: str, callback: Callable[[], None]) -> int:
        """Call *callback* whenever a file is made in or moved into the directory, and when the directory is removed.

        Returns the same as :meth:`watch_file_once`.
        """
        return self._add(path, _CREATE | _MOVED_TO | _DELETE_SELF | _ONLYDIR, callback)

    def unwatch(self, watch: int) -> None:
        """Remove a watch.  Idempotent; takes every value that the watch methods return."""
        if self._callbacks.pop(watch, None) is not None and self._descriptor >= 0:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def _add(self, path: str, mask: int, callback: Callable[[], None]) -> int:
        if self._descriptor < 0:
            return REFUSED
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask))
        if watch >= 0:
            self._callbacks[watch] = callback
            return watch
        number = ctypes.get_errno()
        if number in (errno.ENOENT, errno.ENOTDIR):
            return MISSING
        self._log_failure(number)
        return REFUSED

    def _log_failure(self, number: int) -> None:
        if not self._is_failure_logged:
            self._is_failure_logged = True
            self._log.warn(
                "criwist polls container logs every second, because the kernel refuses inotify watches: {problem}; "
                "see fs.inotify.max_user_watches and max_user_instances",
                problem=os.strerror(number),
            )

    # -- IReadDescriptor

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "inotify"

    def doRead(self) -> None:
        """Read the pending events and call back once for each watch; the next read is :data:`READ_INTERVAL` later."""
        self._reactor.removeReader(self)
        self._next_read = self._reactor.callLater(READ_INTERVAL, self._resume_reading)
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        callbacks: dict[int, Callable[[], None]] = {}
        position = 0
        while position < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            if mask & _Q_OVERFLOW:
                # Some events are lost: every watched file may have changed.
                callbacks |= self._callbacks
            elif mask & _IGNORED:
                self._callbacks.pop(watch, None)
            elif watch in self._callbacks:
                callbacks[watch] = self._callbacks[watch]
        for callback in callbacks.values():
            callback()

    def _resume_reading(self) -> None:
        self._next_read = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        self.stop()
