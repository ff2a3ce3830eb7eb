"""Small files that survive a crash: ours at any instant, the machine's once the call has returned.

A file is written beside its place, forced to the disk, and renamed over it; then the directory is forced too, since
it is the directory that remembers the name.  A reader therefore sees the old content or the new one, whole.  The name
beside is always the same, ``.<name>.new``, so that what a crash leaves of it is taken by the next write or removal.
One process writes to a directory at a time.

:class:`Documents` keeps one JSON document a key in such files.  Each carries the version of its form and a checksum
of its content, because a file may be damaged by what is not us: a full disk's repair, an editor, a restored backup.
A damaged file is logged and renamed to ``<key>.json.damaged``: a person can look at it, we never do again.
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

#: What older shims took as the name of a checkpoint, at most 250 long; neither a path nor a dot file can match.
_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_KEY_LIMIT = 250
_SUFFIX = ".json"
_DAMAGED = ".json.damaged"


def valid_key(key: str) -> bool:
    """Whether *key* can name a document: letters, digits, and inside it ``-``, ``_`` and ``.``."""
    return len(key) <= _KEY_LIMIT and _KEY.match(key) is not None


def write_file(path: str, content: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Make *content* what is found at *path*, atomically and durably.  The directory must exist.

    :param durable: False: it need not outlive the machine, only us.
    :raises OSError: nothing has changed then.
    """
    temporary = _beside(path)
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
    """Remove *path* durably, and what an interrupted write left beside it; whether it was there."""
    with suppress(FileNotFoundError):
        os.unlink(_beside(path))
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync_directory(os.path.dirname(path))
    return True


def _beside(path: str) -> str:
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
    """JSON documents by key, one file each, in *directory*, which is made when first written to."""

    directory: str
    #: Of the documents' form.  A file of a newer version is left alone and reads as absent.
    version: int
    _log: Logger = field(factory=Logger, kw_only=True)

    def path(self, key: str) -> str:
        """Where the document of *key* is.

        :raises ValueError: *key* cannot be a file's name.
        """
        if not valid_key(key):
            raise ValueError(f"not a name for a record: {key!r}")
        return os.path.join(self.directory, key + _SUFFIX)

    def write(self, key: str, document: Mapping[str, Any], *, durable: bool = True) -> None:
        """Keep *document*, durable on return unless it need not outlive the machine.  Replaces."""
        path = self.path(key)
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        whole = {"version": self.version, "checksum": _checksum(document), "document": document}
        write_file(path, json.dumps(whole, sort_keys=True).encode("utf-8"), durable=durable)

    def read(self, key: str) -> dict[str, Any] | None:
        """The document, or None if there is none that can be read; a damaged one is logged and set aside."""
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
                "{path} is of version {found}, this program knows {known}: it is left alone",
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
        """Remove the document, and what was set aside of it.  Idempotent."""
        if valid_key(key):
            remove_file(self.path(key))
            remove_file(os.path.join(self.directory, key + _DAMAGED))

    def keys(self) -> list[str]:
        """Keys of all documents, in order, without looking into them."""
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
