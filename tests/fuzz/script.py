"""The bytes of a fuzz case, read as the script of a client."""

from __future__ import annotations

from attrs import define, field


@define
class Script:
    """Reads numbers and bytes from a case, in order."""

    _data: bytes
    _position: int = field(default=0, init=False)

    @property
    def over(self) -> bool:
        """Whether nothing is left to read."""
        return self._position >= len(self._data)

    def number(self, limit: int) -> int:
        """Return a number from 0 to below *limit*; 0 at the end."""
        return int.from_bytes(self.bytes(1 if limit <= 256 else 2), "big") % limit

    def bytes(self, count: int) -> bytes:
        """Return the next *count* bytes, fewer at the end."""
        taken = self._data[self._position : self._position + count]
        self._position += count
        return taken
