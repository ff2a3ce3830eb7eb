"""Container images made in memory, as the tar that ``docker load`` and ``ctr image import`` read.

An image here is one layer and one configuration.  The bytes depend only on the arguments: entries are sorted, times are
zero and owners are numbers, so the same files give the same image id on every machine.

The format is Docker's image specification v1.2: ``manifest.json`` names the configuration, the tags and the layers; the
configuration's name is the SHA-256 of its bytes, which is the image id on engines with a graph driver.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

#: A fixed time, so that the bytes are reproducible.
_CREATED = "1970-01-01T00:00:00Z"


@frozen
class Entry:
    """One file, directory (``directory=True``) or symbolic link (``link``: its target) of a layer."""

    #: Relative to the image's root, without a leading slash.
    path: str
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    directory: bool = False


@frozen
class Image:
    """An image of one layer.

    :param architecture: Go's name of it: ``amd64``, ``arm64``.
    :param config: members of the configuration's ``config`` object: ``Entrypoint``, ``User``, ``Labels``…
    """

    entries: Sequence[Entry]
    architecture: str
    config: Mapping[str, Any] = field(factory=dict)

    @property
    def id(self) -> str:
        """Return ``sha256:`` and the digest of the configuration: ``Image.Id`` on engines with a graph driver."""
        return "sha256:" + _digest(self._configuration(_layer(self.entries)))

    @property
    def layer_id(self) -> str:
        """Return ``sha256:`` and the digest of the layer's tar: the one item of ``RootFS.Layers`` on every engine."""
        return "sha256:" + _digest(_layer(self.entries))

    def archive(self, *references: str) -> bytes:
        """Return the tar of this image; loading it adds these references as tags."""
        layer = _layer(self.entries)
        configuration = self._configuration(layer)
        config_name = f"{_digest(configuration)}.json"
        layer_name = f"{_digest(layer)}/layer.tar"
        manifest = [{"Config": config_name, "RepoTags": sorted(references), "Layers": [layer_name]}]
        return _tar(
            (
                Entry(layer_name, layer),
                Entry(config_name, configuration),
                Entry("manifest.json", _json(manifest)),
            )
        )

    def _configuration(self, layer: bytes) -> bytes:
        return _json(
            {
                "architecture": self.architecture,
                "config": dict(self.config),
                "created": _CREATED,
                "history": [{"created": _CREATED, "created_by": "criwist"}],
                "os": "linux",
                "rootfs": {"diff_ids": ["sha256:" + _digest(layer)], "type": "layers"},
            }
        )


def _layer(entries: Iterable[Entry]) -> bytes:
    """The layer's tar: a directory comes before its contents, because a parent's path sorts first."""
    return _tar(sorted(entries, key=lambda entry: entry.path))


def _tar(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.path)
            member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
            if entry.directory:
                member.type = tarfile.DIRTYPE
            elif entry.link:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
            else:
                member.size = len(entry.content)
            tar.addfile(member, io.BytesIO(entry.content))
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
