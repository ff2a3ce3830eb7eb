"""The files of one container's log in Docker's directory, current and rotated, and how each is recognized again.

Docker writes to ``NAME``.  When that file is full, Docker renames it to ``NAME.1``, the former ``NAME.1`` to
``NAME.2`` and so on, up to the configured number of files (moby, ``loggerutil/logfile.go``).  With compression, Docker
then packs ``NAME.1`` into ``NAME.1.gz`` and removes it.  If the configured number is one, Docker empties the file in
place instead.

A :class:`LogFile` is one of these files, open: renaming and removal do not affect its reader.  After a restart of
criwist and a change of its name, a file is recognized by the length and checksum of its first entry, which holds a time
in nanoseconds.  An inode number is not enough: the kernel reuses it too soon, and a compressed copy has another one.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from attrs import define, field, frozen

#: Bytes.  No entry of either format is longer: 16 KiB of content, six bytes each, and labels of a container.
MAX_ENTRY: Final = 1 << 20
#: Attempts to list the directory until two listings agree; Docker renames at most a few times a second.
_ATTEMPTS: Final = 10
_GZIP_SUFFIX: Final = ".gz"
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_GZIP_READ_SIZE: Final = 64 << 10


@frozen
class Fingerprint:
    """Length and CRC-32 of a file's first entry, by which the file is recognized."""

    length: int
    checksum: int


class LogFile(Protocol):
    """One file of a log, open."""

    #: Device and inode number.
    identity: tuple[int, int]

    def read(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset* on; fewer only at the file's end."""

    def size(self) -> int:
        """Return the current length in bytes; -1 if it is unknown."""

    def compressed_at(self) -> int:
        """Return when the file was compressed, nanoseconds since the epoch.

        Of a plain file that Docker has compressed and removed: when it was removed, which is Docker's next step.
        """

    def close(self) -> None:
        """Close the descriptor."""


@define(eq=False)
class PlainFile:
    """A file as Docker wrote it."""

    _descriptor: int
    identity: tuple[int, int]

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def compressed_at(self) -> int:
        """Return when the file's names changed last."""
        return os.fstat(self._descriptor).st_ctime_ns

    def close(self) -> None:
        os.close(self._descriptor)


@define(eq=False)
class GzipFile:
    """A file that Docker has compressed.  Reading forward is cheap, reading backward starts at the beginning."""

    _descriptor: int
    identity: tuple[int, int]
    #: Decompressed bytes that are not passed yet, and their offset.
    _buffer: bytes = b""
    _buffer_offset: int = 0
    #: Offset of the next compressed bytes.
    _compressed_offset: int = 0
    _decompressor: zlib._Decompress = field(factory=lambda: zlib.decompressobj(_GZIP_BITS))

    def read(self, offset: int, size: int) -> bytes:
        if offset < self._buffer_offset:
            self._buffer, self._buffer_offset, self._compressed_offset = b"", 0, 0
            self._decompressor = zlib.decompressobj(_GZIP_BITS)
        while self._buffer_offset + len(self._buffer) < offset + size:
            compressed = self._decompressor.unconsumed_tail
            if not compressed:
                compressed = os.pread(self._descriptor, _GZIP_READ_SIZE, self._compressed_offset)
                self._compressed_offset += len(compressed)
            # A damaged end of the file counts as the file's end.
            plain = b""
            with suppress(zlib.error):
                plain = self._decompressor.decompress(compressed, size + _GZIP_READ_SIZE)
            if not plain and not compressed:
                break
            self._buffer += plain
            passed = min(max(offset - self._buffer_offset, 0), len(self._buffer))
            self._buffer, self._buffer_offset = self._buffer[passed:], self._buffer_offset + passed
        passed = offset - self._buffer_offset
        return self._buffer[passed : passed + size]

    def size(self) -> int:
        """Return -1: the length is unknown until all is decompressed."""
        return -1

    def compressed_at(self) -> int:
        """Return when Docker last wrote to the file."""
        return os.fstat(self._descriptor).st_mtime_ns

    def close(self) -> None:
        os.close(self._descriptor)


def open_log_files(path: str) -> list[LogFile]:
    """Open all files of the log at *path*, the oldest first; none if there is no log.

    :raises OSError: a file cannot be read, or Docker renames the files faster than they can be opened.
    """
    for _ in range(_ATTEMPTS):
        before = _list_files(path)
        files = _open_all(before)
        after = _list_files(path)
        if [file.identity for file in files] == list(after.values()) and before == after:
            return files
        for file in files:
            file.close()
    raise OSError(f"Docker renames the files of {path} faster than they can be opened")


def fingerprint(file: LogFile, first_entry_length: Callable[[bytes], int]) -> Fingerprint | None:
    """Return the fingerprint of *file*; None as long as it has no whole entry."""
    data = file.read(0, 512)
    length = first_entry_length(data)
    if not length:
        data = file.read(0, MAX_ENTRY)
        length = first_entry_length(data)
    return Fingerprint(length, zlib.crc32(data[:length])) if length else None


def _list_files(path: str) -> dict[str, tuple[int, int]]:
    """Return path and identity of each file of the log, the oldest first."""
    directory, name = os.path.split(path)
    numbered: dict[int, str] = {}
    for entry in sorted(os.listdir(directory)):
        number = entry.removeprefix(name + ".").removesuffix(_GZIP_SUFFIX)
        # While Docker compresses NAME.1, NAME.1.gz exists and is incomplete; the plain file sorts first and counts.
        if number.isascii() and number.isdigit() and entry.startswith(name + "."):
            numbered.setdefault(int(number), os.path.join(directory, entry))
    paths = [numbered[number] for number in sorted(numbered, reverse=True)]
    identities = {}
    for candidate in (*paths, path):
        with suppress(FileNotFoundError):
            status = os.stat(candidate)
            identities[candidate] = (status.st_dev, status.st_ino)
    return identities


def _open_all(paths: Iterable[str]) -> list[LogFile]:
    files: list[LogFile] = []
    try:
        for path in paths:
            file = _open(path)
            if file is not None:
                files.append(file)
    except OSError:
        for file in files:
            file.close()
        raise
    return files


def _open(path: str) -> LogFile | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    kind = GzipFile if path.endswith(_GZIP_SUFFIX) else PlainFile
    return kind(descriptor, (status.st_dev, status.st_ino))
