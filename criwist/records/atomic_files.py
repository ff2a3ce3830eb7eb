"""Small files that survive a crash: of this process at any time, of the machine once the call has returned.

A write makes a temporary file in the same directory, syncs it to the disk and renames it over the old one; then it
syncs the directory, which holds the name.  A reader therefore sees the whole old content or the whole new one.  The
temporary name is always the same, ``.<name>.new``, so that the next write or removal replaces the rest of a crashed
one.  One process writes to a directory at a time.

:class:`Documents` keeps one JSON document a key in such files.  Each has the version of its format and a checksum of
its content, because other programs may damage a file: the repair of a full disk, an editor, a restored backup.  A
damaged file is logged and renamed to ``<key>.json.damaged``: a person can read it, criwist never does again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.logger import Logger

#: The names that older shims accepted for a checkpoint, at most 250 long; neither a path nor a dot file can match.
_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_KEY_LIMIT = 250
_SUFFIX = ".json"
_DAMAGED = ".json.damaged"


def valid_key(key: str) -> bool:
    """Return whether *key* can name a document: letters, digits, and inside it ``-``, ``_`` and ``.``."""
    return len(key) <= _KEY_LIMIT and _KEY.match(key) is not None


def write_file(path: str, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write *content* to *path*, atomically and durably.  The directory must exist.

    :param durable: False: the file must survive a crash of this process, but not one of the machine.
    :raises OSError: the file is unchanged.
    """
    temporary = _temporary(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_directory(os.path.dirname(path))


def remove_file(path: str) -> bool:
    """Remove *path* durably, and the temporary file of an interrupted write; return whether *path* existed."""
    with suppress(FileNotFoundError):
        os.unlink(_temporary(path))
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync_directory(os.path.dirname(path))
    return True


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.new")


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@define
class Documents:
    """JSON documents by key, one file each, in *directory*, which the first write creates."""

    directory: str
    #: Version of the documents' format.  A file of a newer version is not touched and reads as absent.
    version: int
    _log: Logger = field(factory=Logger, kw_only=True)

    def path(self, key: str) -> str:
        """Return the path of *key*'s document.

        :raises ValueError: *key* cannot be a file's name.
        """
        if not valid_key(key):
            raise ValueError(f"not a name for a record: {key!r}")
        return os.path.join(self.directory, key + _SUFFIX)

    def write(self, key: str, document: Mapping[str, Any], *, durable: bool = True) -> None:
        """Write *document* in place of an older one; *durable* as for :func:`write_file`."""
        path = self.path(key)
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        whole = {"version": self.version, "checksum": _checksum(document), "document": document}
        write_file(path, json.dumps(whole, sort_keys=True).encode("utf-8"), durable=durable)

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the document, or None if there is none that can be read.  Logs a damaged one and sets it aside."""
        if not valid_key(key):
            return None
        path = self.path(key)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        try:
            return self._checked(path, content)
        except (ValueError, TypeError, KeyError) as problem:
            self.set_aside(key, str(problem) or repr(problem))
            return None

    def _checked(self, path: str, content: bytes) -> dict[str, Any] | None:
        whole = json.loads(content)
        if not isinstance(whole, dict):
            raise TypeError("it is not a JSON object")
        if isinstance(whole["version"], int) and whole["version"] > self.version:
            self._log.error(
                "{path} has the format version {found}, newer than {known}, which this program knows: it is not read",
                path=path,
                found=whole["version"],
                known=self.version,
            )
            return None
        document = whole["document"]
        if not isinstance(document, dict):
            raise TypeError("its document is not a JSON object")
        if whole["checksum"] != _checksum(document):
            raise ValueError("its checksum does not match")
        return document

    def set_aside(self, key: str, problem: str) -> None:
        """Log that the file of *key* is damaged and rename it to ``<key>.json.damaged``."""
        path = self.path(key)
        self._log.error("{path} is damaged and set aside: {problem}", path=path, problem=problem)
        os.replace(path, os.path.join(self.directory, key + _DAMAGED))

    def remove(self, key: str) -> None:
        """Remove the document, and a damaged one that was set aside.  Idempotent."""
        if valid_key(key):
            remove_file(self.path(key))
            remove_file(os.path.join(self.directory, key + _DAMAGED))

    def keys(self) -> list[str]:
        """Return the keys of all documents, in order, without reading them."""
        return sorted(name.removesuffix(_SUFFIX) for name in _names(self.directory) if name.endswith(_SUFFIX))


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _checksum(document: Mapping[str, Any]) -> str:
    """SHA-256 over the document's canonical form: sorted keys, no white space, ASCII."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
