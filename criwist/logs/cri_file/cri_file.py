"""The CRI log file of one container: criwist appends to it, kubelet renames it, and others sometimes remove it.

Bytes are appended in batches of whole lines.  The same batch always has the same bytes, because it is made from the
same entries of Docker's log.  Two numbers describe the file: ``length`` is the offset up to which it holds complete
batches that are accounted for, and ``ahead`` is how many bytes of the batches to come it already holds after that.
A disk that fills up in the middle of a batch leaves some bytes ahead, and so does a criwist that was killed after it
wrote and before it recorded that.  The batch is then appended again: the bytes that the file already has are skipped,
and the rest is written.  Nothing is lost, nothing is doubled, and a torn line is completed rather than cut off.

Bytes ahead that were found in the file at the start are compared with the batch; see :class:`Diverged`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, NamedTuple

from attrs import define, field

from criwist.logs.cri_file.safe_open import open_log

#: Bytes at the file's end that are read to find the last line and those that are equal to it.
TAIL_SIZE: Final = 1 << 20


class Mark(NamedTuple):
    """How much of which file is accounted for."""

    device: int
    inode: int
    length: int


class Diverged(Exception):
    """The file does not continue as the container's log does: another program wrote to it, or it was restored."""


@define(eq=False)
class CriFile:
    """The file at *path*.  Methods raise OSError as the system does; they may be called again, and nothing is lost."""

    path: str
    length: int = field(default=0, init=False)
    ahead: int = field(default=0, init=False)
    _descriptor: int = field(default=-1, init=False)
    _identity: tuple[int, int] = field(default=(0, 0), init=False)
    #: Whether the bytes ahead have yet to be compared.
    _is_ahead_unverified: bool = field(default=False, init=False)

    @property
    def mark(self) -> Mark:
        """How much of the open file is accounted for, to be recorded."""
        return Mark(*self._identity, self.length)

    def open(self) -> None:
        """Open the file at its path, or make it; all its bytes count as accounted for.

        If this raises, the file that was open before stays open.
        """
        self._use(open_log(self.path))

    def resume(self, mark: Mark) -> bool:
        """Open the file of *mark*, at its path or under the name that kubelet gave it; False if it does not exist.

        Its bytes beyond the mark are ahead.  If the file is shorter than the mark, because another program cut it or a
        crash of the machine lost its end, all its bytes count as accounted for.
        """
        for name in (self.path, *self._rotated_paths()):
            with suppress(FileNotFoundError):
                status = os.stat(name, follow_symlinks=False)
                if (status.st_dev, status.st_ino) == (mark.device, mark.inode):
                    self._use(open_log(name))
                    if self._identity == (mark.device, mark.inode):
                        self.ahead = max(self.length - mark.length, 0)
                        self.length -= self.ahead
                        self._is_ahead_unverified = self.ahead > 0
                        return True
        return False

    @property
    def is_replaced(self) -> bool:
        """Whether the path leads to another file than the open one.

        If there is no file at the path, kubelet has renamed it and will either ask for a new one, or rename it back,
        over a new one should there be one.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._identity

    def append(self, batch: bytes) -> None:
        """Make the file hold *batch* after its length, and add the batch to the length.

        :raises OSError: the disk is full, or the like; append the same batch again.
        :raises Diverged: the bytes ahead are others; nothing has changed.
        """
        self._check_file()
        if self._is_ahead_unverified:
            self._compare(batch)
        if self.ahead >= len(batch):
            self.ahead -= len(batch)
            self.length += len(batch)
            return
        self._write(batch)
        if os.fstat(self._descriptor).st_nlink == 0:
            # Removed since the check: the batch may be in a file without a name.
            self._continue_at_path(self.length - len(batch))
            self._write(batch)

    def accept_ahead(self) -> None:
        """Account for the bytes ahead, except for a torn line at the end, which is cut off: its rest will not come."""
        if self.ahead:
            ahead = os.pread(self._descriptor, self.ahead, self.length)
            whole = ahead.rfind(b"\n") + 1
            if whole < self.ahead:
                os.ftruncate(self._descriptor, self.length + whole)
            self.length += whole
        self.ahead = 0
        self._is_ahead_unverified = False
        if os.fstat(self._descriptor).st_nlink == 0 and os.path.lexists(self.path):
            self._continue_at_path(self.length)
        self._end_line()

    def accept_all(self) -> None:
        """Account for all bytes of the file, except for a torn line at the end, which is cut off."""
        size = self.length + self.ahead
        start = max(size - TAIL_SIZE, 0)
        whole = os.pread(self._descriptor, size - start, start).rfind(b"\n") + 1
        if whole or not start:
            self.length = start + whole
            self.ahead = size - self.length
        self.accept_ahead()

    def reopen(self) -> None:
        """Open the file at the path, as kubelet requests after it has renamed the old one.

        The old file loses its bytes of an incomplete batch; the new file gets that batch.  If this raises, the old file
        stays open.
        """
        if os.path.lexists(self.path) and not self.is_replaced:
            return
        descriptor = open_log(self.path)
        if self.ahead:
            os.ftruncate(self._descriptor, self.length)
        self._use(descriptor)

    def last_lines(self) -> list[bytes]:
        """Return the last whole lines that are accounted for, from the last :data:`TAIL_SIZE` bytes."""
        start = max(self.length - TAIL_SIZE, 0)
        tail = os.pread(self._descriptor, self.length - start, start)
        if start:
            tail = tail[tail.find(b"\n") + 1 :]
        return [line + b"\n" for line in tail.split(b"\n")[:-1]]

    def close(self) -> None:
        """Close the file.  Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _use(self, descriptor: int) -> None:
        self.close()
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self._identity = (status.st_dev, status.st_ino)
        self.length = status.st_size
        self.ahead = 0
        self._is_ahead_unverified = False

    def _rotated_paths(self) -> list[str]:
        """Return the paths to which kubelet may have renamed the file: ``0.log.20231123-134300``."""
        directory, name = os.path.split(self.path)
        try:
            entries = os.listdir(directory)
        except FileNotFoundError:
            return []
        return [os.path.join(directory, entry) for entry in entries if entry.startswith(name + ".")]

    def _check_file(self) -> None:
        """Open another file if the open one has lost its name, and correct the length if another program changed it."""
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:
            self._continue_at_path(self.length)
        elif status.st_size != self.length + self.ahead:
            # An operator has emptied the file, or another program has written to it.
            self.length = status.st_size
            self.ahead = 0
            self._is_ahead_unverified = False
            self._end_line()

    def _continue_at_path(self, length: int) -> None:
        """Continue with the file at the path: the open file has lost its name.

        If the file at the path is not new, kubelet did not learn that criwist had reopened the log, and renamed the
        previous file over the open one.  The previous file then gets the first *length* bytes of the open one.
        """
        was_renamed_over = os.path.lexists(self.path)
        descriptor = open_log(self.path)
        if was_renamed_over:
            size = os.fstat(descriptor).st_size
            try:
                for start in range(0, length, TAIL_SIZE):
                    part = memoryview(os.pread(self._descriptor, min(TAIL_SIZE, length - start), start))
                    while part:
                        part = part[os.write(descriptor, part) :]
            except OSError:
                os.ftruncate(descriptor, size)
                os.close(descriptor)
                raise
        self._use(descriptor)

    def _end_line(self) -> None:
        """End the file's last line, if another program has written it without a newline."""
        if self.length and os.pread(self._descriptor, 1, self.length - 1) != b"\n":
            self.length += os.write(self._descriptor, b"\n")

    def _compare(self, batch: bytes) -> None:
        size = min(self.ahead, len(batch))
        if os.pread(self._descriptor, size, self.length) != batch[:size]:
            raise Diverged(f"{self.path} differs from the container's log at byte {self.length}")
        self._is_ahead_unverified = self.ahead > size

    def _write(self, batch: bytes) -> None:
        rest = memoryview(batch)[self.ahead :]
        while rest:
            written = self._write_some(rest)
            self.ahead += written
            rest = rest[written:]
        self.length += len(batch)
        self.ahead = 0

    def _write_some(self, data: memoryview) -> int:
        return os.write(self._descriptor, data)
