"""Docker's log files as the engine writes them: appended to, rotated, compressed, emptied."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.logs.engine_formats import Piece, json_entry


class EngineLog:
    """The files of one log at *path*; the engine keeps *keep* of them."""

    def __init__(
        self, path: Path, *, keep: int = 5, compressed: bool = False, entry: Callable[[Piece], bytes] = json_entry
    ) -> None:
        self.path = path
        self._keep = keep
        self.compressed = compressed
        self._entry = entry
        #: All pieces that were ever written.
        self.written: list[Piece] = []
        #: The file was emptied and not written to since.
        self.is_emptied = False

    def write(self, pieces: Iterable[Piece]) -> None:
        """Append entries."""
        pieces = list(pieces)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(b"".join(map(self._entry, pieces)))
        self.written += pieces
        self.is_emptied = False

    def write_raw(self, data: bytes) -> None:
        """Append bytes that are no entry, or a part of one."""
        with self.path.open("ab") as file:
            file.write(data)

    def rotate(self) -> None:
        """Begin a new file, as moby's loggerutil does."""
        if not self.path.exists():
            return
        if self._keep < 2:
            os.truncate(self.path, 0)
            self.is_emptied = True
            return
        suffix = ".gz" if self.compressed else ""
        self._numbered(self._keep - 1, suffix).unlink(missing_ok=True)
        for number in range(self._keep - 1, 1, -1):
            if self._numbered(number - 1, suffix).exists():
                self._numbered(number - 1, suffix).rename(self._numbered(number, suffix))
        self.path.rename(self._numbered(1))
        self.path.touch()
        if self.compressed:
            self._numbered(1, ".gz").write_bytes(gzip.compress(self._numbered(1).read_bytes(), 1))
            self._numbered(1).unlink()

    @property
    def lines(self) -> bytes:
        """The CRI lines to which all pieces have to be converted."""
        return b"".join(piece.line for piece in self.written)

    def _numbered(self, number: int, suffix: str = "") -> Path:
        return self.path.with_name(f"{self.path.name}.{number}{suffix}")


def numbered_pieces(first: int, count: int, *, stream: bytes = b"stdout", size: int = 0) -> list[Piece]:
    """Return pieces that differ by a number."""
    start = 1_700_000_000_000_000_000
    return [
        Piece(start + number * 1_000_003, stream, b"%d" % number + b" x" * (size // 2))
        for number in range(first, first + count)
    ]
