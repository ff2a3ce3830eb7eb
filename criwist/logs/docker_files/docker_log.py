"""Docker's own log of a container, read as one sequence of entries across all its files.

A position is an offset in one file (see :mod:`criwist.logs.docker_files.rotated_files`), always between two entries.
:meth:`DockerLog.read` returns the entries after the position in CRI form and does not move it;
:meth:`DockerLog.advance` moves it once the entries are written.  Nothing but descriptors is held between the two calls:
entries that could not be written are read again.

When Docker has begun a new file, the old one is read to its end first.  The step from one file to the next is a result
of its own, because the caller has to record it before it writes anything of the new file.

A file that Docker has emptied (it keeps a single one) is detected by the bytes before the position, which hold a time
in nanoseconds: they are gone, or different.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from attrs import define, field, frozen

from criwist.logs.docker_files.file_sequence import FileSequence
from criwist.logs.docker_files.rotated_files import MAX_ENTRY, Fingerprint
from criwist.wire import jsonlog, locallog
from criwist.wire.crilog import Converted

#: Bytes that are read and converted at a time: a millisecond or so of work, for which other containers and the rest of
#: the daemon wait at most.  With twice as much, the allocator asks the kernel for memory in each read.
READ_SIZE: Final = 128 << 10
#: Bytes before the position that are compared: the end of the last entry read, its time included.
_GUARD_LENGTH: Final = 48


@frozen
class Format:
    """How a file is cut into entries, and how they are converted to CRI lines."""

    decode: Callable[[bytes], Converted]
    first_entry_length: Callable[[bytes], int]


JSON_FILE: Final = Format(jsonlog.decode, jsonlog.first_entry_length)
LOCAL: Final = Format(locallog.decode, locallog.first_entry_length)


class Position(NamedTuple):
    """Where reading continues."""

    #: None: at the beginning of the log; nothing was read yet.
    file: Fingerprint | None
    offset: int
    #: CRC-32 of the bytes just before the offset.
    checksum_before: int
    #: The file's inode number at that time: it distinguishes files that begin with equal entries, the pieces of one
    #: long line.
    inode: int = 0


BEGINNING: Final = Position(None, 0, 0)


class ReadEvent(Enum):
    """What :meth:`DockerLog.read` returns in place of entries."""

    #: There are no more entries for now.
    END = "end"
    #: Reading continues at the beginning of another file; the position has changed.
    NEXT_FILE = "next file"
    #: Docker emptied the file; its unread entries are lost.  The position has changed.
    EMPTIED = "emptied"
    #: Docker removed files that were never opened; some entries may be lost.  The position has changed.
    GAP = "gap"


class ResumeResult(Enum):
    """Where :meth:`DockerLog.resume` continues."""

    #: At the position.
    FOUND = "found"
    #: At the oldest entry: the file does not have the bytes before the position.  A crash of the machine has lost its
    #: end.
    TRUNCATED = "truncated"
    #: At the oldest entry: Docker has removed the file.
    REMOVED = "removed"


@define(eq=False)
class DockerLog:
    """The log at *path*, which need not exist yet."""

    path: str
    _format: Format
    _files: FileSequence = field(init=False)
    #: The current file's fingerprint, and the offset in it.
    _fingerprint: Fingerprint | None = field(default=None, init=False)
    _offset: int = field(default=0, init=False)
    #: The bytes before the offset, up to :data:`_GUARD_LENGTH`.
    _guard: bytes = field(default=b"", init=False)
    #: The guard after an advance by that many bytes of the last read; None if it has to be read.
    _next_consumed: int = field(default=0, init=False)
    _next_guard: bytes | None = field(default=None, init=False)
    #: A size of the current file at which there was no whole entry after the position.
    _torn_at: int = field(default=-1, init=False)
    #: The last read found nothing after the position.
    _at_end: bool = field(default=False, init=False)
    #: Whether the next read opens newer files.  Set by progress alone: a follower that cannot write does not hold ever
    #: more files.
    _opens_newer: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._files = FileSequence(self.path, self._format.first_entry_length)

    @property
    def exists(self) -> bool:
        """Whether Docker has the log."""
        return self._files.exists

    @property
    def position(self) -> Position:
        """Where reading continues."""
        if self._fingerprint is None:
            return BEGINNING
        return Position(self._fingerprint, self._offset, zlib.crc32(self._guard), self._files.current.identity[1])

    @property
    def may_have_more(self) -> bool:
        """Whether a read may return something, as far as the files' names and sizes show."""
        if not self._files:
            return self._files.exists
        size = self._files.current.size()
        is_unread = size not in (self._offset, self._torn_at) if size >= 0 else not self._at_end
        return is_unread or self._files.may_have_next

    @property
    def unread(self) -> int:
        """Bytes of the current file after the position; 0 while none is open."""
        return max(0, self._files.current.size() - self._offset) if self._files else 0

    def seek_oldest(self) -> None:
        """Go to the oldest entry that Docker still has.

        :raises OSError: the files cannot be read.
        """
        self.close()
        self._files.open_all()

    def resume(self, position: Position) -> ResumeResult:
        """Go to *position*, or else to the oldest entry.

        :raises OSError: the files cannot be read.
        """
        self.seek_oldest()
        if position.file is None:
            return ResumeResult.FOUND
        candidates = [
            (index, file.identity[1])
            for index, file in enumerate(self._files)
            if self._files.fingerprint(file) == position.file
        ]
        if not candidates:
            return ResumeResult.REMOVED
        same = (index for index, inode in candidates if inode == position.inode)
        self._files.drop_oldest(next(same, candidates[0][0]))
        self._fingerprint = position.file
        self._move_to(position.offset)
        if zlib.crc32(self._guard) == position.checksum_before:
            return ResumeResult.FOUND
        self.seek_oldest()
        return ResumeResult.TRUNCATED

    def read(self, size: int = READ_SIZE) -> Converted | ReadEvent:
        """Return the next entries: at least one, and not more than *size* bytes of them unless the first is longer.

        :raises OSError: the files cannot be read.
        """
        if not self._files:
            self._files.open_all()
            if not self._files:
                return ReadEvent.END
        if self._is_emptied():
            return self._restart_emptied()
        if self._opens_newer:
            self._opens_newer = False
            self.open_newer()
        converted = self._read_entries(size)
        if converted is None and len(self._files) == 1:
            if not self._files.is_rotated:
                return ReadEvent.END
            # Docker writes to the new file only now; before, it may have added to the old one.
            converted = self._read_entries(size)
            if converted is None:
                self._files.open_newer()
        return self._step_to_next_file() if converted is None else converted

    def open_newer(self) -> None:
        """Open the files that Docker has begun since, before it removes them.

        :raises OSError: they cannot be opened.
        """
        self._files.open_newer_early()

    def advance(self, consumed: int) -> None:
        """Move the position by *consumed* bytes, at most as many as the last read returned."""
        self._opens_newer = True
        if self._fingerprint is None:
            self._fingerprint = self._files.fingerprint(self._files.current)
        self._move_to(self._offset + consumed, self._next_guard if consumed == self._next_consumed else None)

    def close(self) -> None:
        """Close the files.  A later read begins at the oldest entry."""
        self._files.close()
        self._start_file(None)

    def _start_file(self, file: Fingerprint | None) -> None:
        self._fingerprint = file
        self._offset = 0
        self._guard = b""
        self._torn_at = -1
        self._at_end = False

    def _move_to(self, offset: int, guard: bytes | None = None) -> None:
        self._offset = offset
        self._torn_at = -1
        self._at_end = False
        if guard is None:
            length = min(_GUARD_LENGTH, offset)
            guard = self._files.current.read(offset - length, length)
        self._guard = guard

    def _read_entries(self, size: int) -> Converted | None:
        """Return the entries after the position; None if there is no whole one (it may be damaged)."""
        file = self._files.current
        data = file.read(self._offset, size)
        self._at_end = not data
        if not data:
            return None
        converted = self._format.decode(data)
        if not converted.consumed and len(data) == size:
            data = file.read(self._offset, MAX_ENTRY)
            length = self._format.first_entry_length(data)
            if not length and len(data) == MAX_ENTRY:
                # No entry is that long.
                return Converted(b"", len(data), 1)
            converted = self._format.decode(data[:length])
        if not converted.consumed:
            self._at_end = True
            self._torn_at = self._offset + len(data)
            return None
        consumed = self._next_consumed = converted.consumed
        self._next_guard = data[consumed - _GUARD_LENGTH : consumed] if consumed >= _GUARD_LENGTH else None
        return converted

    def _is_emptied(self) -> bool:
        file = self._files.current
        length = len(self._guard)
        return file.size() >= 0 and file.read(self._offset - length, length) != self._guard

    def _restart_emptied(self) -> ReadEvent:
        """Go to the beginning of the emptied file, once it has an entry by which it can be recognized."""
        file = self._files.current
        new_fingerprint = self._files.fingerprint(file)
        if new_fingerprint is None:
            self._torn_at = file.size()
            return ReadEvent.END
        self._start_file(new_fingerprint)
        return ReadEvent.EMPTIED

    def _step_to_next_file(self) -> ReadEvent:
        step = self._files.step()
        if step is None:
            return ReadEvent.END
        next_fingerprint, has_gap = step
        self._start_file(next_fingerprint)
        return ReadEvent.GAP if has_gap else ReadEvent.NEXT_FILE
