"""The users and groups of images, and the files that they are read from."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.errors import EngineFailure, FailedPrecondition, NotFound
from criwist.interfaces.engine import JSONObject
from criwist.translate.users import Accounts

PASSWD, GROUP = b"root:x:0:0::/:/bin/sh\n", b"root:x:0:\n"
ID = "sha256:" + "a" * 64


def tar(name: str, content: bytes = b"", *, link: str = "", kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return an archive of one entry, as the engine makes it."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = (tarfile.SYMTYPE if link else kind), link, len(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@define
class Engine:
    """One image, whose files are archives by path, and the containers that were created from it."""

    files: Mapping[str, bytes]
    user: str = ""
    made: list[str] = field(factory=list)
    alive: list[str] = field(factory=list)
    label: str = ""

    async def inspect_image(self, reference: str) -> JSONObject:
        """Return the image, for any reference."""
        return {"Id": ID, "Config": {"User": self.user}}

    async def create_container(self, name: str, body: JSONObject) -> str:
        """Create a container of the image, whose name must not be one of kubelet's containers."""
        assert body["Image"] == ID
        assert not name.startswith("k8s_")
        ((key, value),) = body["Labels"].items()
        self.label = f"{key}={value}"
        self.made.append(name)
        self.alive.append(name)
        return name

    async def archive(self, container: str, path: str) -> bytes:
        """Return the archive of *path*."""
        assert container in self.alive
        if path not in self.files:
            raise NotFound("container", container)
        return self.files[path]

    async def has_path(self, container: str, path: str) -> bool:
        """Return whether *path* exists."""
        assert container in self.alive
        return path in self.files

    async def containers(self, filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """Return the containers with the label."""
        return [{"Id": name} for name in self.alive if filters == {"label": [self.label]}]

    async def remove_container(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove a container, with its volumes."""
        assert volumes
        self.alive.remove(container)


def image_accounts(engine: Engine) -> ImageUsers:
    """Return the users of this engine's images."""
    docker: Any = engine
    return ImageUsers(docker, ImageFiles(docker))


class AccountsOfImages(SynchronousTestCase):
    """ImageUsers reads two files of an image and leaves no container."""

    def read(self, files: Mapping[str, bytes], **fields: Any) -> tuple[Deferred[Accounts], Engine]:
        """Read the accounts of an image with these files."""
        engine = Engine(files, **fields)
        return Deferred.fromCoroutine(image_accounts(engine).of("image")), engine

    def test_both_files(self) -> None:
        """Both files and the image's user are read, and no container is left."""
        files = {"/etc/passwd": tar("passwd", PASSWD), "/etc/group": tar("group", GROUP)}
        accounts, engine = self.read(files, user="alice")
        self.assertEqual(self.successResultOf(accounts), Accounts(PASSWD, GROUP, "alice"))
        self.assertEqual((len(engine.made), engine.alive), (1, []))

    def test_no_files(self) -> None:
        """An image without the files has no accounts."""
        accounts, _ = self.read({})
        self.assertEqual(self.successResultOf(accounts), Accounts())

    def test_links(self) -> None:
        """Links are followed inside the image; a relative one starts at the link's directory."""
        files = {
            "/etc/passwd": tar("passwd", link="../usr/share/passwd"),
            "/usr/share/passwd": tar("passwd", link="/accounts/passwd"),
            "/accounts/passwd": tar("passwd", PASSWD),
        }
        accounts, _ = self.read(files)
        self.assertEqual(self.successResultOf(accounts).passwd, PASSWD)

    def test_links_without_end(self) -> None:
        """A loop of links is an error, and no container is left."""
        accounts, engine = self.read({"/etc/passwd": tar("passwd", link="passwd")})
        self.failureResultOf(accounts, FailedPrecondition)
        self.assertEqual(engine.alive, [])

    def test_odd_things(self) -> None:
        """A directory in the place of a file is read as an empty file."""
        accounts, _ = self.read({"/etc/passwd": tar("passwd", kind=tarfile.DIRTYPE)})
        self.assertEqual(self.successResultOf(accounts).passwd, b"")

    def test_too_long(self) -> None:
        """A file that is too long for memory is rejected."""
        accounts, _ = self.read({"/etc/passwd": tar("passwd", b"x" * (2 << 20))})
        self.failureResultOf(accounts, FailedPrecondition)

    def test_no_archive(self) -> None:
        """A response that is not an archive is an EngineFailure."""
        accounts, engine = self.read({"/etc/passwd": b"<html>"})
        self.failureResultOf(accounts, EngineFailure)
        self.assertEqual(engine.alive, [])

    def test_once_for_an_image(self) -> None:
        """Concurrent calls for one image read its files once."""
        engine = Engine({"/etc/passwd": tar("passwd", PASSWD)})
        accounts = image_accounts(engine)
        asked = [Deferred.fromCoroutine(accounts.of(name)) for name in ("image", ID, "image:tag")]
        self.assertEqual(len(set(self.successResultOf(gatherResults(asked)))), 1)  # type: ignore[arg-type]
        self.assertEqual(len(engine.made), 1)


class FilesOfImages(SynchronousTestCase):
    """ImageFiles looks up paths in an image and leaves no container."""

    def test_paths(self) -> None:
        """A path is relative to the image's root, and no container is left."""
        engine = Engine({"/models/one": b""})
        docker: Any = engine
        files = ImageFiles(docker)
        for path, there in (("models/one", True), ("./models/one", True), ("one", False)):
            looking = Deferred.fromCoroutine(files.has(ID, path))
            self.assertEqual(self.successResultOf(looking), there, path)
        self.assertEqual((len(engine.made), engine.alive), (3, []))

    def test_left_by_a_crash(self) -> None:
        """clear() removes the containers that a crash has left."""
        engine = Engine({})
        docker: Any = engine
        files = ImageFiles(docker)
        self.successResultOf(Deferred.fromCoroutine(files.has(ID, "a")))
        engine.alive.append("criwist-looks-left")
        self.successResultOf(Deferred.fromCoroutine(files.clear()))
        self.assertEqual(engine.alive, [])
