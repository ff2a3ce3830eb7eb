"""Images are looked up in memory, and the cache is up to date after every change."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.images.credentials import DockerConfigs
from criwist.core.images.filesystem import used_bytes
from criwist.core.images.images import Images
from criwist.core.images.snapshot import ImageEntry
from criwist.errors import EngineFailure, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from criwist.reference import parse
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_images import RemoteImage

NAME = "registry.example/app:1"


class ImagesCase(SynchronousTestCase):
    """The images of an engine in memory."""

    def setUp(self) -> None:
        """Connect, and deliver the event feed to the images."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.images = self.make()
        self.feed = Deferred.fromCoroutine(
            self.memory.client.events("", lambda: None, lambda event: self.images.event(event))
        )
        self.addCleanup(self.feed.addErrback, lambda failure: None)
        self.addCleanup(self.feed.cancel)

    def make(self, **config: Any) -> Images:
        """Return Images with these options."""
        return Images(self.memory.client, Config(**config), self.clock, DockerConfigs())

    def result(self, call: Any) -> Any:
        """Return the call's result."""
        return self.successResultOf(Deferred.fromCoroutine(call))

    def failure(self, call: Any, kind: type[Exception]) -> Any:
        """Return the call's error."""
        return self.failureResultOf(Deferred.fromCoroutine(call), kind).value

    def names(self) -> set[str]:
        """Return all tags and digests in the cache."""
        self.memory.network.settle()
        return {name for entry in self.images.snapshot.images.values() for name in entry.references}

    def pull(self, name: str = NAME, **remote: Any) -> str:
        """Add the image to the registry and pull it."""
        self.memory.registry[str(parse(name).specific())] = RemoteImage(**remote)
        return str(self.result(self.images.pull(pb.ImageSpec(image=name), None)))


class LookupTests(ImagesCase):
    """ImageStatus and ListImages."""

    def setUp(self) -> None:
        """Add three images, one without a name."""
        super().setUp()
        self.busybox = self.memory.images.add("busybox:latest", config={"User": "1003:users", "Labels": {"a": "b"}})
        self.app = self.memory.images.add(NAME, config={"User": "me"}, size=7)
        self.app.digests.append("registry.example/app@sha256:" + "ab" * 32)
        self.nameless = self.memory.images.add("", content="nameless")
        self.result(self.images.refresh())
        self.memory.requests.clear()

    def found(self, reference: str) -> str:
        """Return the id of the image that *reference* names, or ``""``."""
        image = self.images.snapshot.status(reference)
        return "" if image is None else str(image.id)

    def test_an_image_is_found_by_all_its_names(self) -> None:
        """Id with and without ``sha256:``, id prefix, tag, digest, short, full and bare names find it."""
        identifier = self.busybox.id
        for name in ("busybox", "busybox:latest", "docker.io/library/busybox", "index.docker.io/busybox:latest"):
            self.assertEqual(self.found(name), identifier, name)
        for name in (identifier, identifier[7:], identifier[:20], identifier[7:15]):
            self.assertEqual(self.found(name), identifier, name)
        digest = "@sha256:" + "ab" * 32
        for name in (NAME, f"registry.example/app{digest}", f"registry.example/app:any{digest}"):
            self.assertEqual(self.found(name), self.app.id, name)
        self.assertEqual(self.found(self.nameless.id), self.nameless.id)

    def test_what_is_absent_is_none(self) -> None:
        """An absent image is no error, as a kubelet expects."""
        for name in ("busybox:1", "absent", "sha256:" + "0" * 64, "0" * 12, "registry.example/app", "other/app:1"):
            self.assertEqual(self.found(name), "", name)
        self.assertFalse(self.images.snapshot.response("absent", verbose=True).HasField("image"))

    def test_malformed_names_are_refused(self) -> None:
        """A malformed name is InvalidArgument."""
        for name in ("", "App", "a b"):
            self.assertRaises(InvalidArgument, self.images.snapshot.status, name)

    def test_fields(self) -> None:
        """Status has names, size and user."""
        image: Any = self.images.snapshot.status("busybox")
        self.assertEqual((list(image.repo_tags), image.uid.value, image.username), (["busybox:latest"], 1003, ""))
        image = self.images.snapshot.status(NAME)
        self.assertEqual((image.size, image.HasField("uid"), image.username), (7, False, "me"))

    def test_verbose(self) -> None:
        """Verbose status has labels, configuration and history, as JSON."""
        info = json.loads(self.images.snapshot.response("busybox", verbose=True).info["info"])
        self.assertEqual(info["labels"], {"a": "b"})
        self.assertEqual(info["config"]["User"], "1003:users")
        self.assertEqual(len(info["history"]), 1)
        self.assertEqual(dict(self.images.snapshot.response("busybox", verbose=False).info), {})

    def test_lists(self) -> None:
        """A list has all images, nameless ones too; or one; or those of a repository; or none."""

        def listed(name: str) -> set[str]:
            return {image.id for image in self.images.snapshot.list(name)}

        self.assertEqual(listed(""), {self.busybox.id, self.app.id, self.nameless.id})
        self.assertEqual(listed("busybox:latest"), {self.busybox.id})
        self.assertEqual(listed("registry.example/app"), {self.app.id})
        self.assertEqual(listed(self.nameless.id), {self.nameless.id})
        self.assertEqual(listed("absent"), set())
        self.assertEqual(listed("busybox:2"), set())

    def test_looking_up_asks_docker_nothing(self) -> None:
        """Status, list and the file system are answered from memory."""
        self.result(self.memory.client.connect())
        self.memory.requests.clear()
        self.images.snapshot.list("")
        self.images.snapshot.response("busybox", verbose=True)
        self.images.filesystem()
        self.assertEqual(self.memory.requests, [])

    def test_a_refresh_inspects_new_images_alone(self) -> None:
        """A second refresh is one request, the list."""
        self.result(self.images.refresh())
        self.assertEqual(self.memory.requests, ["GET /images/json"])

    def test_an_image_that_the_list_omits_stays(self) -> None:
        """An image that the engine has and does not list stays, even if its inspection fails; a removed one goes."""
        self.memory.images.unlisted.add(self.busybox.id)
        self.result(self.images.refresh())
        self.assertEqual(self.found("busybox"), self.busybox.id)
        self.memory.fail(f"GET /images/{self.busybox.id}/json", 500, "no")
        self.result(self.images.refresh())
        self.assertEqual(self.found("busybox"), self.busybox.id)
        del self.memory.images.all[self.busybox.id]
        self.result(self.images.refresh())
        self.assertEqual(self.found("busybox"), "")

    def test_a_refresh_fails_with_docker(self) -> None:
        """The cache stays as it is then."""
        self.memory.fail("GET /images/json", 500, "no")
        self.failure(self.images.refresh(), EngineFailure)
        self.assertEqual(self.found("busybox"), self.busybox.id)
        self.memory.away()
        self.failure(self.images.refresh(), Unavailable)
        self.assertEqual(self.found("busybox"), self.busybox.id)

    def test_a_damaged_image_hides_nothing(self) -> None:
        """An image that cannot be inspected is shown as it is listed; one without a history has none."""
        images = self.make()
        self.memory.fail(f"GET /images/{self.busybox.id}/json", 500, "damaged")
        self.memory.fail(f"GET /images/{self.app.id}/history", 404, "no config")
        self.result(images.refresh())
        self.assertEqual(images.snapshot.status("busybox").id, self.busybox.id)  # type: ignore[union-attr]
        self.assertEqual(images.snapshot.status(NAME).id, self.app.id)  # type: ignore[union-attr]
        self.assertEqual(len(images.snapshot.list()), 3)

    def test_the_document_of_an_image(self) -> None:
        """``image`` returns the engine's document by id."""
        self.assertEqual(self.images.image(self.app.id)["Config"], {"User": "me"})  # type: ignore[index]
        self.assertIsNone(self.images.image("sha256:0"))


class EventTests(ImagesCase):
    """Changes by other clients of the engine."""

    def test_the_engine_s_events_update_the_cache(self) -> None:
        """Another client's tag, untag, pull and delete are in the cache."""
        image = self.memory.images.add("busybox")
        self.assertEqual(self.names(), {"busybox:latest"})
        self.memory.images.tag(image, parse("other:1"))
        self.assertEqual(self.names(), {"busybox:latest", "other:1"})
        self.memory.images.remove("busybox", force=False)
        self.assertEqual(self.names(), {"other:1"})
        self.memory.images.pulled(parse(NAME), RemoteImage())
        self.assertIn(NAME, self.names())
        self.memory.images.remove("other:1", force=False)
        self.memory.network.settle()
        self.assertEqual(list(self.images.snapshot.images), [parse_id(self.images, NAME)])

    def test_a_tag_moves(self) -> None:
        """The image that had the tag keeps its other names."""
        first = self.memory.images.add("busybox", content="first")
        self.memory.images.tag(first, parse("other:1"))
        second = self.memory.images.add("busybox", content="second")
        self.assertEqual(self.names(), {"busybox:latest", "other:1"})
        self.assertEqual(self.images.snapshot.status("busybox").id, second.id)  # type: ignore[union-attr]
        self.assertEqual(list(self.images.snapshot.status(first.id).repo_tags), ["other:1"])  # type: ignore[union-attr]

    def test_a_storm_of_events_is_one_inspection(self) -> None:
        """Events of one image that arrive while its inspection is pending are coalesced."""
        image = self.memory.images.add("busybox")
        self.memory.network.settle()
        held = self.memory.hold("GET /images/.*/json")
        for number in range(20):
            self.memory.images.tag(image, parse(f"name:{number}"))
        self.memory.network.settle()
        self.memory.requests.clear()
        held.release()
        self.assertEqual(len(self.names()), 21)
        self.assertEqual(len(self.memory.requests), 1)

    def test_other_events_are_ignored(self) -> None:
        """A save, and an event without a name, lead to no request."""
        self.memory.requests.clear()
        self.images.event({"Action": "save", "Actor": {"ID": "sha256:1"}})
        self.images.event({"Action": "tag"})
        self.assertEqual(self.memory.requests, [])

    def test_an_inspection_that_fails_is_made_up_for_later(self) -> None:
        """The next event of the image leads to another inspection."""
        self.memory.fail("GET /images/.*/json", 500, "no")
        image = self.memory.images.add("busybox")
        self.assertEqual(self.names(), set())
        self.memory.images.tag(image, parse("other:1"))
        self.assertEqual(self.names(), {"busybox:latest", "other:1"})


class PullTests(ImagesCase):
    """PullImage."""

    def test_a_pull_returns_the_id_that_status_has(self) -> None:
        """The cache has the image when the pull returns, by tag and by digest."""
        identifier = self.pull()
        image: Any = self.images.snapshot.status(NAME)
        self.assertEqual(image.id, identifier)
        self.assertEqual(len(image.repo_digests), 1)
        self.assertEqual(self.images.snapshot.status(image.repo_digests[0]).id, identifier)  # type: ignore[union-attr]

    def test_a_bare_name_is_pulled_as_latest(self) -> None:
        """The engine, given the name alone, would pull all tags of the repository."""
        self.pull("busybox")
        self.assertIn("busybox:latest", self.names())

    def test_a_pull_by_digest(self) -> None:
        """A tag beside the digest is ignored; the image has its digest as a name."""
        digest = RemoteImage().manifest_digest
        self.memory.registry[f"docker.io/library/busybox@{digest}"] = RemoteImage()
        spec = pb.ImageSpec(image=f"busybox:1@{digest}")
        identifier = self.result(self.images.pull(spec, None))
        self.assertEqual(self.images.snapshot.status(f"busybox@{digest}").id, identifier)  # type: ignore[union-attr]

    def test_credentials_reach_the_engine(self) -> None:
        """Wrong credentials fail."""
        self.memory.registry[NAME] = RemoteImage(username="me", password="pw")
        spec = pb.ImageSpec(image=NAME)
        self.result(self.images.pull(spec, pb.AuthConfig(username="me", password="pw")))
        self.failure(self.images.pull(spec, pb.AuthConfig(username="me", password="no")), Exception)

    def test_malformed_requests_do_not_reach_docker(self) -> None:
        """An empty text, a malformed reference, an id and malformed credentials are InvalidArgument."""
        for name in ("", "App", "sha256:" + "0" * 64):
            self.failure(self.images.pull(pb.ImageSpec(image=name), None), InvalidArgument)
        auth = pb.AuthConfig(auth="!")
        self.failure(self.images.pull(pb.ImageSpec(image=NAME), auth), InvalidArgument)
        self.assertEqual(self.memory.requests[1:], [])

    def test_ensure_pulls_only_an_absent_image(self) -> None:
        """``ensure`` of an image that exists makes no request."""
        self.memory.registry[NAME] = RemoteImage()
        identifier = self.result(self.images.ensure(NAME))
        self.memory.requests.clear()
        self.assertEqual(self.result(self.images.ensure(NAME)), identifier)
        self.assertEqual(self.memory.requests, [])

    def test_ensure_tries_the_node_s_credentials_in_turn(self) -> None:
        """Rejected credentials are followed by the next; the last rejection is the error."""

        class Configs(DockerConfigs):
            async def credentials_for(self, reference: object) -> Any:
                return [{"username": "me", "password": "old"}, {"username": "me", "password": "pw"}]

        images = Images(self.memory.client, Config(), self.clock, Configs())
        self.memory.registry[NAME] = RemoteImage(username="me", password="pw")
        self.result(images.ensure(NAME))
        self.memory.registry["docker.io/library/x:latest"] = RemoteImage(username="you", password="pw")
        self.failure(images.ensure("x"), Exception)
        self.assertEqual(self.memory.requests.count("POST /images/create"), 4)


class RemoveTests(ImagesCase):
    """RemoveImage."""

    def remove(self, name: str) -> None:
        """Remove the image."""
        self.result(self.images.remove(name))

    def test_all_names_are_removed_whichever_is_given(self) -> None:
        """By tag, digest, id or id prefix, the image is removed, and at once from the cache."""
        for form in ("tag", "digest", "id", "prefix"):
            identifier = self.pull()
            image = self.memory.images.all[identifier]
            self.memory.images.tag(image, parse("second:2"))
            self.memory.images.tag(image, parse("registry.example/app:other"))
            names = {"tag": "second:2", "digest": image.digests[0], "id": identifier, "prefix": identifier[7:20]}
            self.remove(names[form])
            self.assertEqual(self.memory.images.all, {}, form)
            self.assertEqual(dict(self.images.snapshot.images), {}, form)

    def test_an_absent_image_is_success(self) -> None:
        """Removing an absent image succeeds, by every form of name."""
        for name in ("absent", "absent@sha256:" + "0" * 64, "sha256:" + "0" * 64, "0" * 12):
            self.remove(name)

    def test_malformed_names_are_refused(self) -> None:
        """A malformed name is InvalidArgument."""
        self.failure(self.images.remove("App"), InvalidArgument)

    def test_an_image_in_use_loses_its_names(self) -> None:
        """The container runs on, the image stays as long as it, and a removal by id is FailedPrecondition."""
        identifier = self.pull()
        container = self.result(self.memory.client.create_container("c", {"Image": NAME}))
        self.result(self.memory.client.start_container(container))
        self.remove(NAME)
        self.assertEqual(self.names(), set())
        self.assertTrue(self.memory.container("c").running)
        self.assertIsNotNone(self.images.snapshot.status(identifier))
        self.failure(self.images.remove(identifier), FailedPrecondition)
        self.remove(NAME)

    def test_a_mounted_image_is_not_touched(self) -> None:
        """A mounted image keeps its names too."""
        identifier = self.pull()
        images = Images(self.memory.client, Config(), self.clock, DockerConfigs(), lambda: {identifier})
        self.failure(images.remove(NAME), FailedPrecondition)
        self.assertIn(NAME, self.memory.images.all[identifier].tags)

    def test_other_failures_are_reported(self) -> None:
        """A conflict for another reason, and a failing engine, are errors."""
        self.pull()
        self.memory.fail("DELETE /images/.*", 409, "something else")
        self.failure(self.images.remove(NAME), FailedPrecondition)
        self.memory.fail("DELETE /images/.*", 500, "disk")
        self.failure(self.images.remove(NAME), EngineFailure)


class PinTests(ImagesCase):
    """Images that a kubelet's garbage collection must not remove."""

    def pinned(self, **config: Any) -> set[str]:
        """Return the tags of pinned images."""
        images = self.make(**config)
        self.result(images.refresh())
        return {tag for image in images.snapshot.list() if image.pinned for tag in image.repo_tags}

    def test_the_sandbox_image_is_pinned(self) -> None:
        """criwist's own sandbox image, or the operator's in any spelling, is pinned."""
        self.memory.images.add("criwist.invalid/pause:1.0")
        self.memory.images.add("my/pause")
        self.assertEqual(self.pinned(), {"criwist.invalid/pause:1.0"})
        self.assertEqual(self.pinned(pod_infra_container_image="docker.io/my/pause:latest"), {"my/pause:latest"})

    def test_patterns_and_labels(self) -> None:
        """Patterns match short and full names; labels match with and without a value."""
        self.memory.images.add("busybox:1", config={"Labels": {"keep": "yes"}})
        self.memory.images.add(NAME, config={"Labels": {"keep": "no"}})
        self.assertEqual(self.pinned(pinned_images=("docker.io/library/*",)), {"busybox:1"})
        self.assertEqual(self.pinned(pinned_images=("registry.example/*:1",)), {NAME})
        self.assertEqual(self.pinned(pinned_image_labels=("keep=yes",)), {"busybox:1"})
        self.assertEqual(self.pinned(pinned_image_labels=("keep",)), {"busybox:1", NAME})


class FilesystemTests(ImagesCase):
    """ImageFsInfo."""

    def entry(self, identifier: str, *layers: tuple[str, int], size: int = 0) -> ImageEntry:
        """Return an image of these layers, lowest first."""
        history = [{"Size": bytes_} for _, bytes_ in reversed(layers)] + [{"Size": 0}]
        inspected = {"RootFS": {"Layers": [digest for digest, _ in layers]}}
        return ImageEntry(pb.Image(id=identifier, size=size or sum(one for _, one in layers)), inspected, history)

    def test_shared_layers_count_once(self) -> None:
        """A layer is shared if the layers below it are the same; else it counts by itself."""
        base = ("base", 100)
        self.assertEqual(used_bytes([self.entry("1", base, ("a", 10)), self.entry("2", base, ("b", 5))]), 115)
        self.assertEqual(used_bytes([self.entry("1", base), self.entry("2", ("x", 1), base)]), 201)
        self.assertEqual(used_bytes([]), 0)

    def test_compressed_layers_count(self) -> None:
        """The containerd image store's compressed layers count beside the unpacked ones."""
        self.assertEqual(used_bytes([self.entry("1", ("a", 10), size=14)]), 14)

    def test_shared_compressed_layers_count_once(self) -> None:
        """The compressed layers that images share are the same files too."""
        base = ("base", 100)
        images = [self.entry("1", base, size=130), self.entry("2", base, ("b", 10), size=143), self.entry("3", base)]
        self.assertEqual(used_bytes(images), 143)

    def test_image_without_a_history(self) -> None:
        """An image without sizes of layers counts with its own size, once for the same layers."""
        nameless = [ImageEntry(pb.Image(id=one, size=50), {"RootFS": {"Layers": ["a"]}}, ()) for one in ("1", "2")]
        self.assertEqual(used_bytes(nameless), 50)

    def test_size_with_the_containerd_image_store(self) -> None:
        """The size is the pulled bytes, of the inspection, and the unpacked bytes, of the history."""
        self.memory.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
        self.result(self.memory.client.connect())
        self.memory.images.add("busybox", size=70)
        self.result(self.images.refresh())
        image = self.images.snapshot.status("busybox")
        self.assertEqual(image.size if image else 0, 140)
        self.assertEqual(self.images.filesystem().image_filesystems[0].used_bytes.value, 140)

    def test_the_response(self) -> None:
        """One file system, at the engine's layers; with inodes only if that is visible."""
        self.memory.images.add("busybox", size=70)
        self.result(self.images.refresh())
        self.assertRaises(Unavailable, self.images.filesystem)
        root = "/no/such/directory"
        self.memory.info["DockerRootDir"] = root
        self.result(self.memory.client.connect())
        usage = self.images.filesystem().image_filesystems[0]
        self.assertEqual((usage.fs_id.mountpoint, usage.used_bytes.value), (root, 70))
        self.assertFalse(usage.HasField("inodes_used"))
        self.assertGreater(usage.timestamp, 0)
        self.memory.info["DockerRootDir"] = "/"
        self.result(self.memory.client.connect())
        self.assertTrue(self.images.filesystem().image_filesystems[0].HasField("inodes_used"))


def parse_id(images: Images, name: str) -> str:
    """Return the id of the image with this name."""
    found = images.snapshot.status(name)
    if found is None:
        raise NotFound("image", name)
    return str(found.id)
