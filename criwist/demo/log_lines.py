"""Read a container's log as text, in the CRI's format or, behind a link, in that of Docker's json-file driver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

#: Enough to show what a container does.
_MAX_LINES = 1000


def read_log(path: Path) -> Iterator[str]:
    """Yield the lines of a log without their times; a line in parentheses if there is no log or it is too long.

    The CRI's format is ``TIME STREAM TAG CONTENT``, where the tag ``P`` marks a line that the next one continues.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        yield f"(no log: {error})"
        return
    if lines[-1] == b"":
        lines.pop()
    begun = b""
    for line in lines[:_MAX_LINES]:
        content, complete = _content(line)
        begun += content
        if complete:
            yield begun.decode(errors="replace")
            begun = b""
    if begun:
        yield begun.decode(errors="replace")
    if len(lines) > _MAX_LINES:
        yield f"({len(lines) - _MAX_LINES} more lines)"


def _content(line: bytes) -> tuple[bytes, bool]:
    """Return the bytes that the container wrote, and whether the line ends there."""
    if line.startswith(b"{"):
        try:
            text = str(json.loads(line)["log"]).encode()
        except (ValueError, KeyError):
            return line, True
        return text.removesuffix(b"\n"), text.endswith(b"\n")
    parts = line.split(b" ", 3)
    if len(parts) < 3:
        return line, True
    return parts[3] if len(parts) == 4 else b"", parts[2] != b"P"
