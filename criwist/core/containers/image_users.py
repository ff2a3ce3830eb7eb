"""The users and groups that an image knows: its ``/etc/passwd`` and ``/etc/group``.

Whether a container's process gets the groups in which its image lists its user depends on these two files wherever
Docker's own rule is not the one that the pod asked for (see ``translate.users``).  They are read once for an image:
what an id stands for never changes.
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

#: Images remembered; two short files each.
_MOST_IMAGES = 64
#: A longer file is not held: 1 MiB is some twenty thousand users.
_LONGEST_FILE = 1 << 20
#: Symbolic links that are followed from one name, as many images have for neither file.
_MOST_LINKS = 8


@define(eq=False)
class ImageUsers:
    """Reads and remembers accounts of images."""

    _docker: IDocker
    _files: ImageFiles
    _locks: Locks = field(factory=Locks, init=False)
    _known: OrderedDict[str, Accounts] = field(factory=OrderedDict, init=False)

    async def of(self, image: str) -> Accounts:
        """The accounts of an image by reference or id; files that it lacks are empty.

        :raises NotFound: no such image.
        :raises FailedPrecondition: a file is too long, or its links have no end.
        """
        inspected = await self._docker.inspect_image(image)
        identifier = text(inspected, "Id")
        async with self._locks.hold(identifier):
            if identifier not in self._known:
                self._known[identifier] = await self._read(identifier, text(inspected, "Config", "User"))
                while len(self._known) > _MOST_IMAGES:
                    self._known.popitem(last=False)
            self._known.move_to_end(identifier)
            return self._known[identifier]

    async def _read(self, image: str, user: str) -> Accounts:
        async with self._files.opened(image) as container:
            passwd, group = [await self._file(container, path) for path in ("/etc/passwd", "/etc/group")]
            return Accounts(passwd, group, user)

    async def _file(self, container: str, path: str) -> bytes:
        """A file of the container's, ``b""`` if there is none."""
        for _ in range(_MOST_LINKS):
            try:
                archive = await self._docker.archive(container, path)
            except NotFound:
                return b""
            content, link = _first_entry(archive, path)
            if not link:
                return content
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        raise FailedPrecondition(f"image: the links at {path} have no end")


def _first_entry(archive: bytes, path: str) -> tuple[bytes, str]:
    """Content and link target of the one thing in a tar archive; a thing that is neither file nor link is empty."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as entries:
            entry = entries.next()
            if entry is None or not (entry.isfile() or entry.issym()):
                return b"", ""
            if entry.issym():
                return b"", entry.linkname
            if entry.size > _LONGEST_FILE:
                raise FailedPrecondition(f"image: {path} is longer than {_LONGEST_FILE} bytes")
            file = entries.extractfile(entry)
            return (file.read() if file is not None else b""), ""
    except tarfile.TarError as error:
        raise EngineFailure(f"the engine's archive of {path} cannot be read: {error}") from error
