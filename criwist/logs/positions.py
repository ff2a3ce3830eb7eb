"""How far each container's log has been written, in files that outlive us.

A position may be older than the truth, never newer: what was written since is recognized when it is made again (see
:mod:`criwist.logs.cri_file.cri_file`).  It therefore need not be saved for each line, and it need not be forced to the
disk, which would cost more than all the rest: a killed criwist loses nothing that the kernel has, and after a crash of
the machine the log's last line is looked up in Docker's.  A file that such a crash left damaged is noticed by its
checksum.

One ``<container id>`` a container, a line of JSON and its CRC-32, written beside and renamed.
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
from criwist.logs.docker_files.generations import Fingerprint
from criwist.logs.engine_api.cursor import ApiCursor

_VERSION: Final = 1
_IDENTIFIER: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")


@frozen
class Record:
    """What is remembered of one container's log."""

    #: The log's path and the part of it that is accounted for.
    path: str
    mark: Mark
    #: Where reading goes on: a place in Docker's files, or in the API's answer.
    source: Position | ApiCursor
    #: The container has exited and its log is whole.
    complete: bool = False


@define
class Positions:
    """Records by container id, in *directory*, which is made when first written to."""

    _directory: str
    _log: Logger = field(factory=Logger, kw_only=True)

    def save(self, container_id: str, record: Record) -> None:
        """Write it.  Replaces.

        :raises OSError: the old one is still there.
        """
        text = json.dumps(_document(record), separators=(",", ":")).encode("utf-8")
        path = self._path(container_id)
        beside = os.path.join(self._directory, f".{container_id}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(b"%b %08x\n" % (text, zlib.crc32(text)))
        os.rename(beside, path)

    def load(self, container_id: str) -> Record | None:
        """The record, or None if there is none that can be read; a damaged one is logged."""
        try:
            with open(self._path(container_id), "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        try:
            return _record(content)
        except (ValueError, KeyError, TypeError) as problem:
            self._log.error(
                "The record of how far the log of container {container} was written is damaged: {problem}; "
                "the log goes on behind its last line",
                container=container_id,
                problem=str(problem) or repr(problem),
            )
            return None

    def remove(self, container_id: str) -> None:
        """Remove it.  Idempotent."""
        for path in (os.path.join(self._directory, f".{container_id}"), self._path(container_id)):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def identifiers(self) -> Sequence[str]:
        """Ids of all containers that have a record."""
        try:
            return sorted(name for name in os.listdir(self._directory) if _IDENTIFIER.fullmatch(name))
        except FileNotFoundError:
            return []

    def _path(self, container_id: str) -> str:
        if not _IDENTIFIER.fullmatch(container_id):
            raise ValueError(f"not the id of a container: {container_id!r}")
        return os.path.join(self._directory, container_id)


def _document(record: Record) -> dict[str, Any]:
    document: dict[str, Any] = {"version": _VERSION, "path": record.path, "mark": list(record.mark)}
    source = record.source
    if isinstance(source, ApiCursor):
        document["anchor"] = [source.since, source.count, source.first, source.last]
    else:
        generation = source.generation
        document["offset"] = [source.offset, source.before, source.inode]
        document["generation"] = None if generation is None else [generation.length, generation.checksum]
    if record.complete:
        document["complete"] = True
    return document


def _record(content: bytes) -> Record:
    text, _, checksum = content.rstrip(b"\n").rpartition(b" ")
    if not text or int(checksum, 16) != zlib.crc32(text):
        raise ValueError("its checksum does not match")
    document = json.loads(text)
    if document["version"] != _VERSION:
        raise ValueError(f"it is of version {document['version']!r}, this program knows {_VERSION}")
    source: Position | ApiCursor
    if "anchor" in document:
        source = ApiCursor(*document["anchor"])
    else:
        generation = document["generation"]
        # Without the inode number in records of older versions.
        source = Position(None if generation is None else Fingerprint(*generation), *document["offset"])
    return Record(document["path"], Mark(*document["mark"]), source, document.get("complete", False))
