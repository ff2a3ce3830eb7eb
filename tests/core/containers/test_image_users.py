"""Reading the accounts of images."""

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
    """An archive of one entry, as the engine makes it."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = (tarfile.SYMTYPE if link else kind), link, len(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@define
class Engine:
    """One image, whose files are archives by path; and the containers that were made of it."""

    files: Mapping[str, bytes]
    user: str = ""
    made: list[str] = field(factory=list)
    alive: list[str] = field(factory=list)
    label: str = ""

    async def inspect_image(self, reference: str) -> JSONObject:
        """The image, under any reference."""
        return {"Id": ID, "Config": {"User": self.user}}

    async def create_container(self, name: str, body: JSONObject) -> str:
        """A container of the image; it must not look like one of kubelet's."""
        assert body["Image"] == ID
        assert not name.startswith("k8s_")
        ((key, value),) = body["Labels"].items()
        self.label = f"{key}={value}"
        self.made.append(name)
        self.alive.append(name)
        return name

    async def archive(self, container: str, path: str) -> bytes:
        """What is at *path*."""
        assert container in self.alive
        if path not in self.files:
            raise NotFound("container", container)
        return self.files[path]

    async def has_path(self, container: str, path: str) -> bool:
        """Whether there is anything at *path*."""
        assert container in self.alive
        return path in self.files

    async def containers(self, filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """Containers with the label."""
        return [{"Id": name} for name in self.alive if filters == {"label": [self.label]}]

    async def remove_container(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove, volumes included."""
        assert volumes
        self.alive.remove(container)


def image_accounts(engine: Engine) -> ImageUsers:
    """Of this engine."""
    docker: Any = engine
    return ImageUsers(docker, ImageFiles(docker))


class AccountsOfImages(SynchronousTestCase):
    """What is read, and what is left."""

    def read(self, files: Mapping[str, bytes], **fields: Any) -> tuple[Deferred[Accounts], Engine]:
        """Ask for the accounts of an image with these files."""
        engine = Engine(files, **fields)
        return Deferred.fromCoroutine(image_accounts(engine).of("image")), engine

    def test_both_files(self) -> None:
        """Both files and the image's user are read, and no container is left."""
        files = {"/etc/passwd": tar("passwd", PASSWD), "/etc/group": tar("group", GROUP)}
        accounts, engine = self.read(files, user="alice")
        self.assertEqual(self.successResultOf(accounts), Accounts(PASSWD, GROUP, "alice"))
        self.assertEqual((len(engine.made), engine.alive), (1, []))

    def test_no_files(self) -> None:
        """An image from scratch knows nobody."""
        accounts, _ = self.read({})
        self.assertEqual(self.successResultOf(accounts), Accounts())

    def test_links(self) -> None:
        """Links are followed inside the image, relative ones from where they are."""
        files = {
            "/etc/passwd": tar("passwd", link="../usr/share/passwd"),
            "/usr/share/passwd": tar("passwd", link="/accounts/passwd"),
            "/accounts/passwd": tar("passwd", PASSWD),
        }
        accounts, _ = self.read(files)
        self.assertEqual(self.successResultOf(accounts).passwd, PASSWD)

    def test_links_without_end(self) -> None:
        """A circle of links is an error, and no container is left."""
        accounts, engine = self.read({"/etc/passwd": tar("passwd", link="passwd")})
        self.failureResultOf(accounts, FailedPrecondition)
        self.assertEqual(engine.alive, [])

    def test_odd_things(self) -> None:
        """A directory in the place of a file is no file."""
        accounts, _ = self.read({"/etc/passwd": tar("passwd", kind=tarfile.DIRTYPE)})
        self.assertEqual(self.successResultOf(accounts).passwd, b"")

    def test_too_long(self) -> None:
        """A file that nobody should hold in memory is refused."""
        accounts, _ = self.read({"/etc/passwd": tar("passwd", b"x" * (2 << 20))})
        self.failureResultOf(accounts, FailedPrecondition)

    def test_no_archive(self) -> None:
        """An answer that is no archive is the engine's fault."""
        accounts, engine = self.read({"/etc/passwd": b"<html>"})
        self.failureResultOf(accounts, EngineFailure)
        self.assertEqual(engine.alive, [])

    def test_once_for_an_image(self) -> None:
        """Many containers of an image are made at once; its files are read once."""
        engine = Engine({"/etc/passwd": tar("passwd", PASSWD)})
        accounts = image_accounts(engine)
        asked = [Deferred.fromCoroutine(accounts.of(name)) for name in ("image", ID, "image:tag")]
        self.assertEqual(len(set(self.successResultOf(gatherResults(asked)))), 1)  # type: ignore[arg-type]
        self.assertEqual(len(engine.made), 1)


class FilesOfImages(SynchronousTestCase):
    """What is there, and what is left."""

    def test_paths(self) -> None:
        """A path is looked for from the image's root, and no container is left."""
        engine = Engine({"/models/one": b""})
        docker: Any = engine
        files = ImageFiles(docker)
        for path, there in (("models/one", True), ("./models/one", True), ("one", False)):
            looking = Deferred.fromCoroutine(files.has(ID, path))
            self.assertEqual(self.successResultOf(looking), there, path)
        self.assertEqual((len(engine.made), engine.alive), (3, []))

    def test_left_by_a_crash(self) -> None:
        """What a crash left is removed at the next start."""
        engine = Engine({})
        docker: Any = engine
        files = ImageFiles(docker)
        self.successResultOf(Deferred.fromCoroutine(files.has(ID, "a")))
        engine.alive.append("criwist-looks-left")
        self.successResultOf(Deferred.fromCoroutine(files.clear()))
        self.assertEqual(engine.alive, [])
