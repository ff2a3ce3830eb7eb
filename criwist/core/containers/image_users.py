"""The users and groups of an image: its ``/etc/passwd`` and ``/etc/group``.

A container's process gets the groups in which its image lists its user.  Where Docker's own rule is not the one that
the pod requests, criwist needs these two files (see ``translate.users``).  They are read once for an image, since an id
stands for unchanging content.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections import OrderedDict

from attrs import define, field

from criwist.core.containers.image_files import ImageFiles
from criwist.errors import EngineFailure, FailedPrecondition, NotFound
from criwist.interfaces.engine import IDocker
from criwist.locks import Locks
from criwist.translate.engine_json import text
from criwist.translate.users import Accounts

#: Images whose files are kept in memory; two short files each.
_MAX_IMAGES = 64
#: Bytes; a longer file is rejected.  1 MiB is some twenty thousand users.
_MAX_FILE = 1 << 20
#: Symbolic links that are followed for one file; no known image has as many.
_MAX_LINKS = 8


@define(eq=False)
class ImageUsers:
    """Reads accounts of images, and keeps them in memory."""

    _docker: IDocker
    _files: ImageFiles
    _locks: Locks = field(factory=Locks, init=False)
    _accounts: OrderedDict[str, Accounts] = field(factory=OrderedDict, init=False)

    async def of(self, image: str) -> Accounts:
        """Return the accounts of an image by reference or id; a missing file is empty.

        :raises NotFound: no such image.
        :raises FailedPrecondition: a file is too long, or its links form a loop.
        """
        inspected = await self._docker.inspect_image(image)
        identifier = text(inspected, "Id")
        async with self._locks.hold(identifier):
            if identifier not in self._accounts:
                self._accounts[identifier] = await self._read(identifier, text(inspected, "Config", "User"))
                while len(self._accounts) > _MAX_IMAGES:
                    self._accounts.popitem(last=False)
            self._accounts.move_to_end(identifier)
            return self._accounts[identifier]

    async def _read(self, image: str, user: str) -> Accounts:
        async with self._files.opened(image) as container:
            passwd, group = [await self._file(container, path) for path in ("/etc/passwd", "/etc/group")]
            return Accounts(passwd, group, user)

    async def _file(self, container: str, path: str) -> bytes:
        """Return the content of a file in the container; ``b""`` if there is none."""
        for _ in range(_MAX_LINKS):
            try:
                archive = await self._docker.archive(container, path)
            except NotFound:
                return b""
            content, link = _first_entry(archive, path)
            if not link:
                return content
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        raise FailedPrecondition(f"image: too many symbolic links at {path}")


def _first_entry(archive: bytes, path: str) -> tuple[bytes, str]:
    """Return content and link target of the first entry of a tar archive; both empty for other than files and links."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as entries:
            entry = entries.next()
            if entry is None or not (entry.isfile() or entry.issym()):
                return b"", ""
            if entry.issym():
                return b"", entry.linkname
            if entry.size > _MAX_FILE:
                raise FailedPrecondition(f"image: {path} is longer than {_MAX_FILE} bytes")
            file = entries.extractfile(entry)
            return (file.read() if file is not None else b""), ""
    except tarfile.TarError as error:
        raise EngineFailure(f"the engine's archive of {path} cannot be read: {error}") from error
