"""CRI log files: reading them, rotating them as kubelet does, and commands that write many lines."""

from __future__ import annotations

import gzip
import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.wire.crilog import Line, parse
from tests.harness.client import CRI


def log_path(cri: CRI, container_id: str) -> Path:
    """Return the path at which kubelet reads the container's log."""
    return Path(cri.status(container_id).log_path)


def lines(path: Path) -> list[Line]:
    """Return the lines of a log, with those of its rotated files first."""
    return [parse(line + b"\n") for file in files(path) for line in _read(file).split(b"\n")[:-1]]


def files(path: Path) -> list[Path]:
    """Return the files of a log, the oldest first."""
    rotated = sorted(path.parent.glob(path.name + ".*"))
    return [*rotated, path] if path.exists() else rotated


def written(found: Iterable[Line], stream: bytes = b"") -> bytes:
    """Return the bytes that the container wrote, or wrote to *stream* if one is named: every F ends a line."""
    return b"".join(line.content + (b"" if line.partial else b"\n") for line in found if stream in (b"", line.stream))


def numbers(found: Iterable[Line]) -> list[int]:
    """Return the numbers with which lines begin."""
    return [int(line.content.split(b" ")[0]) for line in found]


def rotate(cri: CRI, container_id: str, path: Path) -> Path:
    """Rotate as kubelet does: rename, reopen, and rename back if that fails; return the old file's new path."""
    rotated = path.with_name(f"{path.name}.{time.time_ns():020d}")
    path.rename(rotated)
    try:
        cri.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container_id))
    except BaseException:
        rotated.rename(path)
        raise
    return rotated


def flood(count: int, width: int = 100, *, first: int = 0) -> tuple[str, ...]:
    """Return a command that writes *count* lines of about *width* bytes as fast as it can, numbered from *first* on."""
    script = 'BEGIN { p = sprintf("%" w "s", ""); gsub(/ /, "x", p); for (i = f; i < f + n; i++) print i, p }'
    return ("awk", "-v", f"f={first}", "-v", f"n={count}", "-v", f"w={width - 8}", script)


def flood_until(stop: str, burst: int = 20_000) -> str:
    """Return a shell script that floods until the file *stop* exists, and ends with the line ``NUMBER end``."""
    once = shell(flood(burst)).replace("f=0", 'f="$first"', 1)
    return f'first=0; while ! [ -e {stop} ]; do {once}; first=$((first + {burst})); done; echo "$first end"'


def shell(command: Iterable[str]) -> str:
    """Return the command, quoted for a shell."""
    return " ".join(map(shlex.quote, command))


def _read(file: Path) -> bytes:
    data = file.read_bytes()
    data = gzip.decompress(data) if file.suffix == ".gz" else data
    assert not data or data.endswith(b"\n"), f"{file} ends in a torn line: {data[-100:]!r}"
    return data
