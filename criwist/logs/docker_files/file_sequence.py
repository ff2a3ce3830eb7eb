"""The open files of one Docker log, in the order in which Docker wrote them: the one that is read, and newer ones.

Newer files are opened while an older one is still read, so that Docker may remove them while criwist is behind.  There
is a limit, because a removed file takes room on Docker's disk as long as it is open.

A file becomes the one that is read only when it has an entry, by which it can be recognized after a restart.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from attrs import define, field

from criwist.logs.docker_files.rotated_files import Fingerprint, LogFile, fingerprint, open_log_files

#: Bytes of newer files up to which still newer ones are opened before they are due.  A file that Docker removes beyond
#: that is lost if criwist does not reach it in time.
MAX_HELD: Final = 64 << 20


@define(eq=False)
class FileSequence:
    """The files of the log at *path*, which need not exist yet.  Every method may raise OSError."""

    path: str
    _first_entry_length: Callable[[bytes], int]
    #: The one that is read, and newer ones.
    _files: deque[LogFile] = field(factory=deque, init=False)
    #: Docker may have removed files that were never opened, just before the next one.
    _has_gap: bool = field(default=False, init=False)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[LogFile]:
        return iter(self._files)

    @property
    def exists(self) -> bool:
        """Whether Docker has made the log."""
        return os.path.exists(self.path)

    @property
    def current(self) -> LogFile:
        """The file that is read; there must be one."""
        return self._files[0]

    @property
    def is_rotated(self) -> bool:
        """Whether Docker writes to a newer file than the newest that is open; there must be an open one."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._files[-1].identity

    @property
    def may_have_next(self) -> bool:
        """Whether :meth:`step` may succeed; there must be an open file."""
        if len(self._files) > 2 or self.is_rotated:
            return True
        return len(self._files) == 2 and self._files[1].size() != 0

    def fingerprint(self, file: LogFile) -> Fingerprint | None:
        """Return the fingerprint of *file*; None as long as it has no whole entry."""
        return fingerprint(file, self._first_entry_length)

    def open_all(self) -> None:
        """Open all files that Docker has; none may be open."""
        self._files.extend(self._open_existing())

    def drop_oldest(self, count: int) -> None:
        """Close the *count* oldest files."""
        for _ in range(count):
            self._files.popleft().close()

    def close(self) -> None:
        """Close all files."""
        self.drop_oldest(len(self._files))

    def open_newer_early(self) -> None:
        """Open the files that Docker has begun since, before it removes them, up to :data:`MAX_HELD`."""
        if self._files and self.is_rotated and self._held() < MAX_HELD:
            self.open_newer()

    def open_newer(self) -> None:
        """Open the files that are newer than the newest that is open."""
        existing = self._open_existing()
        while (index := self._index_of_newest(existing)) is None and len(self._files) > 1:
            if self.fingerprint(self._files[-1]) is not None:
                break
            # The newest has no entry, and Docker has removed it.
            self._files.pop().close()
        if index is None:
            self._has_gap = True
            index = -1
        for older in existing[: index + 1]:
            older.close()
        self._files.extend(existing[index + 1 :])

    def step(self) -> tuple[Fingerprint, bool] | None:
        """Make the next file that has an entry the current one.

        Returns its fingerprint, and whether Docker may have removed unread files before it; None if there is no such
        file yet.
        """
        while len(self._files) > 1:
            next_fingerprint = self.fingerprint(self._files[1])
            if next_fingerprint is not None:
                self.drop_oldest(1)
                has_gap, self._has_gap = self._has_gap, False
                return next_fingerprint, has_gap
            if len(self._files) > 2:
                # Docker has finished with this file, so its content is damaged.
                self._files[1].close()
                del self._files[1]
            elif self.is_rotated:
                self.open_newer()
            else:
                break
        return None

    def _open_existing(self) -> list[LogFile]:
        try:
            return open_log_files(self.path)
        except FileNotFoundError:
            return []

    def _held(self) -> int:
        return sum(max(file.size(), 0) for file in islice(self._files, 1, None))

    def _index_of_newest(self, existing: list[LogFile]) -> int | None:
        """Return where the newest open file is among *existing*: itself, or a compressed copy of it.

        All files of one long line begin alike.  Docker compresses one after the other, so the copies of later files are
        younger than the removal of the newest open one.  If all copies seem to be younger, the file system's times are
        of no use, and the youngest copy is taken.
        """
        newest = self._files[-1]
        for index, candidate in enumerate(existing):
            # As long as the newest is open, no other file has its inode number.
            if candidate.identity == newest.identity:
                return index
        newest_fingerprint = self.fingerprint(newest)
        if newest_fingerprint is None:
            return None
        youngest = None
        for index in reversed(range(len(existing))):
            candidate = existing[index]
            if candidate.size() >= 0 or self.fingerprint(candidate) != newest_fingerprint:
                continue
            if candidate.compressed_at() <= newest.compressed_at():
                return index
            if youngest is None:
                youngest = index
        return youngest
