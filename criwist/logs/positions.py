"""The position in each container's log, in files that outlive a criwist process.

A recorded position may be older than the true one, never newer: after a restart criwist recognizes the lines that were
written since (see :mod:`criwist.logs.cri_file.cri_file`).  It therefore need not be saved for each line, and it need
not be forced to the disk, which would cost more than all the rest: the kernel keeps what a killed criwist has written,
and after a crash of the machine criwist finds the CRI file's last line in Docker's log.  A checksum detects a record
that such a crash has damaged.

Each container has one file, ``<container id>``: a line of JSON and its CRC-32, written beside it and renamed.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from attrs import define, field, frozen
from twisted.logger import Logger

from criwist.logs.cri_file.cri_file import Mark
from criwist.logs.docker_files.docker_log import Position
from criwist.logs.docker_files.rotated_files import Fingerprint
from criwist.logs.engine_api.cursor import ApiCursor

_VERSION: Final = 1
_IDENTIFIER: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")


@frozen
class Record:
    """What criwist remembers of one container's log."""

    #: The CRI file's path, and the part of it that is accounted for.
    path: str
    mark: Mark
    #: Where reading continues: in Docker's files, or in the log API's response.
    source: Position | ApiCursor
    #: The container has exited and its log is complete.
    complete: bool = False


@define
class Positions:
    """Records by container id, in *directory*, which the first save makes."""

    _directory: str
    _log: Logger = field(factory=Logger, kw_only=True)

    def save(self, container_id: str, record: Record) -> None:
        """Write the container's record in place of an older one.

        :raises OSError: the older record is still there.
        """
        text = json.dumps(_to_json(record), separators=(",", ":")).encode("utf-8")
        path = self._path(container_id)
        temporary = os.path.join(self._directory, f".{container_id}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(b"%b %08x\n" % (text, zlib.crc32(text)))
        os.rename(temporary, path)

    def load(self, container_id: str) -> Record | None:
        """Return the container's record; None if there is none, or it is damaged, which is logged."""
        try:
            with open(self._path(container_id), "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        try:
            return _from_bytes(content)
        except (ValueError, KeyError, TypeError) as problem:
            self._log.error(
                "The recorded position in the log of container {container} is damaged: {problem}; "
                "criwist continues after the log's last line",
                container=container_id,
                problem=str(problem) or repr(problem),
            )
            return None

    def remove(self, container_id: str) -> None:
        """Remove the container's record.  Idempotent."""
        for path in (os.path.join(self._directory, f".{container_id}"), self._path(container_id)):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def identifiers(self) -> Sequence[str]:
        """Return the ids of all containers that have a record."""
        try:
            return sorted(name for name in os.listdir(self._directory) if _IDENTIFIER.fullmatch(name))
        except FileNotFoundError:
            return []

    def _path(self, container_id: str) -> str:
        if not _IDENTIFIER.fullmatch(container_id):
            raise ValueError(f"not the id of a container: {container_id!r}")
        return os.path.join(self._directory, container_id)


# The keys "anchor" and "generation" are part of the format on disk: older versions wrote them.


def _to_json(record: Record) -> dict[str, Any]:
    document: dict[str, Any] = {"version": _VERSION, "path": record.path, "mark": list(record.mark)}
    source = record.source
    if isinstance(source, ApiCursor):
        document["anchor"] = [source.since, source.count, source.first, source.last]
    else:
        file = source.file
        document["offset"] = [source.offset, source.checksum_before, source.inode]
        document["generation"] = None if file is None else [file.length, file.checksum]
    if record.complete:
        document["complete"] = True
    return document


def _from_bytes(content: bytes) -> Record:
    text, _, checksum = content.rstrip(b"\n").rpartition(b" ")
    if not text or int(checksum, 16) != zlib.crc32(text):
        raise ValueError("its checksum does not match")
    document = json.loads(text)
    if document["version"] != _VERSION:
        raise ValueError(f"it has version {document['version']!r}, this criwist knows {_VERSION}")
    source: Position | ApiCursor
    if "anchor" in document:
        source = ApiCursor(*document["anchor"])
    else:
        file = document["generation"]
        # Records of older versions have no inode number.
        source = Position(None if file is None else Fingerprint(*file), *document["offset"])
    return Record(document["path"], Mark(*document["mark"]), source, document.get("complete", False))
