"""Parser of ``/proc/<pid>/mountinfo`` (proc(5)).

The kernel writes blanks, tabs, newlines and backslashes in paths as octal escapes; the parsed values have the
characters themselves.
"""

from __future__ import annotations

import re

from attrs import frozen

_ESCAPE = re.compile(r"\\([0-7]{3})")


@frozen
class Mount:
    """One mount of a mount namespace."""

    id: int
    #: Directory within the file system that is visible at the mount point.
    root: str
    point: str
    options: frozenset[str]
    #: ``shared:N``, ``master:N``, ``propagate_from:N``, ``unbindable``; empty: private.
    propagation: frozenset[str]
    type: str
    source: str
    super_options: tuple[str, ...]


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of a mountinfo text, in its order, which is the order of mounting."""
    return [_parse_line(line) for line in text.splitlines() if line]


def _parse_line(line: str) -> Mount:
    fields = line.split(" ")
    separator = fields.index("-", 6)
    return Mount(
        id=int(fields[0]),
        root=_unescape(fields[3]),
        point=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        propagation=frozenset(fields[6:separator]),
        type=fields[separator + 1],
        source=_unescape(fields[separator + 2]),
        super_options=tuple(fields[separator + 3].split(",")),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
