"""Images are looked up in memory, and the copy is right after every change."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.images.credentials import DockerConfigs
from criwist.core.images.filesystem import bytes_of
from criwist.core.images.images import Images
from criwist.core.images.snapshot import ImageEntry
from criwist.errors import EngineFailure, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from criwist.reference import parse
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_images import RemoteImage

NAME = "registry.example/app:1"


class ImagesCase(SynchronousTestCase):
    """An engine in memory, and its images as the core sees them."""

    def setUp(self) -> None:
        """Connected, with the event feed delivered to the images."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.images = self.make()
        self.feed = Deferred.fromCoroutine(
            self.memory.client.events("", lambda: None, lambda event: self.images.event(event))
        )
        self.addCleanup(self.feed.addErrback, lambda failure: None)
        self.addCleanup(self.feed.cancel)

    def make(self, **config: Any) -> Images:
        """Images with these options."""
        return Images(self.memory.client, Config(**config), self.clock, DockerConfigs())

    def result(self, call: Any) -> Any:
        """What the call returns."""
        return self.successResultOf(Deferred.fromCoroutine(call))

    def failure(self, call: Any, kind: type[Exception]) -> Any:
        """What the call raises."""
        return self.failureResultOf(Deferred.fromCoroutine(call), kind).value

    def names(self) -> set[str]:
        """All tags and digests in the copy."""
        self.memory.network.settle()
        return {name for entry in self.images.snapshot.images.values() for name in entry.references}

    def pull(self, name: str = NAME, **remote: Any) -> str:
        """Offer the image and pull it."""
        self.memory.registry[str(parse(name).specific())] = RemoteImage(**remote)
        return str(self.result(self.images.pull(pb.ImageSpec(image=name), None)))


class LookupTests(ImagesCase):
    """ImageStatus and ListImages."""

    def setUp(self) -> None:
        """Three images, one without a name."""
        super().setUp()
        self.busybox = self.memory.images.add("busybox:latest", config={"User": "1003:users", "Labels": {"a": "b"}})
        self.app = self.memory.images.add(NAME, config={"User": "me"}, size=7)
        self.app.digests.append("registry.example/app@sha256:" + "ab" * 32)
        self.nameless = self.memory.images.add("", content="nameless")
        self.result(self.images.refresh())
        self.memory.requests.clear()

    def found(self, reference: str) -> str:
        """The id under which the image is found, or ``""``."""
        image = self.images.snapshot.status(reference)
        return "" if image is None else str(image.id)

    def test_an_image_is_found_by_all_its_names(self) -> None:
        """Id with and without prefix, beginning of an id, tag, digest, short, full and bare names."""
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
        """No error, as a kubelet wants it."""
        for name in ("busybox:1", "absent", "sha256:" + "0" * 64, "0" * 12, "registry.example/app", "other/app:1"):
            self.assertEqual(self.found(name), "", name)
        self.assertFalse(self.images.snapshot.response("absent", verbose=True).HasField("image"))

    def test_malformed_names_are_refused(self) -> None:
        """With the field."""
        for name in ("", "App", "a b"):
            self.assertRaises(InvalidArgument, self.images.snapshot.status, name)

    def test_fields(self) -> None:
        """Names, size and user."""
        image = self.images.snapshot.status("busybox")
        self.assertEqual((list(image.repo_tags), image.uid.value, image.username), (["busybox:latest"], 1003, ""))
        image = self.images.snapshot.status(NAME)
        self.assertEqual((image.size, image.HasField("uid"), image.username), (7, False, "me"))

    def test_verbose(self) -> None:
        """Labels, configuration and history, as JSON."""
        info = json.loads(self.images.snapshot.response("busybox", verbose=True).info["info"])
        self.assertEqual(info["labels"], {"a": "b"})
        self.assertEqual(info["config"]["User"], "1003:users")
        self.assertEqual(len(info["history"]), 1)
        self.assertEqual(dict(self.images.snapshot.response("busybox", verbose=False).info), {})

    def test_lists(self) -> None:
        """All of them, nameless ones too; one; those of a repository; none."""

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

    def test_a_refresh_asks_for_what_is_new_alone(self) -> None:
        """A second refresh is one list."""
        self.result(self.images.refresh())
        self.assertEqual(self.memory.requests, ["GET /images/json"])

    def test_a_refresh_fails_with_docker(self) -> None:
        """And the copy stays as it is."""
        self.memory.fail("GET /images/json", 500, "no")
        self.failure(self.images.refresh(), EngineFailure)
        self.assertEqual(self.found("busybox"), self.busybox.id)
        self.memory.away()
        self.failure(self.images.refresh(), Unavailable)
        self.assertEqual(self.found("busybox"), self.busybox.id)

    def test_a_damaged_image_hides_nothing(self) -> None:
        """One that cannot be inspected is shown as it is listed; one without a history has none."""
        images = self.make()
        self.memory.fail(f"GET /images/{self.busybox.id}/json", 500, "damaged")
        self.memory.fail(f"GET /images/{self.app.id}/history", 404, "no config")
        self.result(images.refresh())
        self.assertEqual(images.snapshot.status("busybox").id, self.busybox.id)
        self.assertEqual(images.snapshot.status(NAME).id, self.app.id)
        self.assertEqual(len(images.snapshot.list()), 3)

    def test_the_document_of_an_image(self) -> None:
        """By id."""
        self.assertEqual(self.images.image(self.app.id)["Config"], {"User": "me"})
        self.assertIsNone(self.images.image("sha256:0"))


class EventTests(ImagesCase):
    """Changes behind our back."""

    def test_the_engine_s_events_change_the_copy(self) -> None:
        """Tag, untag, pull and delete by somebody else show."""
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
        """The image that had it keeps its other names."""
        first = self.memory.images.add("busybox", content="first")
        self.memory.images.tag(first, parse("other:1"))
        second = self.memory.images.add("busybox", content="second")
        self.assertEqual(self.names(), {"busybox:latest", "other:1"})
        self.assertEqual(self.images.snapshot.status("busybox").id, second.id)
        self.assertEqual(list(self.images.snapshot.status(first.id).repo_tags), ["other:1"])

    def test_a_storm_of_events_is_one_look(self) -> None:
        """Events of one image that come while it is waited for are one."""
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

    def test_other_events_are_nothing(self) -> None:
        """Saving an image, or an event without a name, makes nobody look."""
        self.memory.requests.clear()
        self.images.event({"Action": "save", "Actor": {"ID": "sha256:1"}})
        self.images.event({"Action": "tag"})
        self.assertEqual(self.memory.requests, [])

    def test_a_look_that_fails_is_logged_and_made_good_later(self) -> None:
        """The next event of the image makes us look again."""
        self.memory.fail("GET /images/.*/json", 500, "no")
        image = self.memory.images.add("busybox")
        self.assertEqual(self.names(), set())
        self.memory.images.tag(image, parse("other:1"))
        self.assertEqual(self.names(), {"busybox:latest", "other:1"})


class PullTests(ImagesCase):
    """PullImage."""

    def test_a_pull_returns_the_id_that_status_has(self) -> None:
        """At once, by tag; the digest is a name too."""
        identifier = self.pull()
        image = self.images.snapshot.status(NAME)
        self.assertEqual(image.id, identifier)
        self.assertEqual(len(image.repo_digests), 1)
        self.assertEqual(self.images.snapshot.status(image.repo_digests[0]).id, identifier)

    def test_a_bare_name_is_pulled_as_latest(self) -> None:
        """Not all tags of the repository, which the engine would pull if asked for the name alone."""
        self.pull("busybox")
        self.assertIn("busybox:latest", self.names())

    def test_a_pull_by_digest(self) -> None:
        """A tag beside the digest is left out; the image has its digest for a name."""
        digest = RemoteImage().manifest_digest
        self.memory.registry[f"docker.io/library/busybox@{digest}"] = RemoteImage()
        spec = pb.ImageSpec(image=f"busybox:1@{digest}")
        identifier = self.result(self.images.pull(spec, None))
        self.assertEqual(self.images.snapshot.status(f"busybox@{digest}").id, identifier)

    def test_credentials_come_to_the_engine(self) -> None:
        """And wrong ones do not do."""
        self.memory.registry[NAME] = RemoteImage(username="me", password="pw")
        spec = pb.ImageSpec(image=NAME)
        self.result(self.images.pull(spec, pb.AuthConfig(username="me", password="pw")))
        self.failure(self.images.pull(spec, pb.AuthConfig(username="me", password="no")), Exception)

    def test_malformed_requests_ask_docker_nothing(self) -> None:
        """No reference, an id, an empty text, malformed credentials."""
        for name in ("", "App", "sha256:" + "0" * 64):
            self.failure(self.images.pull(pb.ImageSpec(image=name), None), InvalidArgument)
        auth = pb.AuthConfig(auth="!")
        self.failure(self.images.pull(pb.ImageSpec(image=NAME), auth), InvalidArgument)
        self.assertEqual(self.memory.requests[1:], [])

    def test_ensure_pulls_what_is_absent_alone(self) -> None:
        """With the image there, no call is made."""
        self.memory.registry[NAME] = RemoteImage()
        identifier = self.result(self.images.ensure(NAME))
        self.memory.requests.clear()
        self.assertEqual(self.result(self.images.ensure(NAME)), identifier)
        self.assertEqual(self.memory.requests, [])

    def test_ensure_tries_the_node_s_credentials_in_turn(self) -> None:
        """The next one if one is refused; the last refusal is the error."""

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
        """Remove it."""
        self.result(self.images.remove(name))

    def test_all_names_go_whichever_is_given(self) -> None:
        """Tag, digest, id or a beginning of it: the image is gone, and at once from the copy."""
        for form in ("tag", "digest", "id", "prefix"):
            identifier = self.pull()
            image = self.memory.images.all[identifier]
            self.memory.images.tag(image, parse("second:2"))
            self.memory.images.tag(image, parse("registry.example/app:other"))
            names = {"tag": "second:2", "digest": image.digests[0], "id": identifier, "prefix": identifier[7:20]}
            self.remove(names[form])
            self.assertEqual(self.memory.images.all, {}, form)
            self.assertEqual(dict(self.images.snapshot.images), {}, form)

    def test_nothing_there_is_success(self) -> None:
        """By every form of name."""
        for name in ("absent", "absent@sha256:" + "0" * 64, "sha256:" + "0" * 64, "0" * 12):
            self.remove(name)

    def test_malformed_names_are_refused(self) -> None:
        """With the field."""
        self.failure(self.images.remove("App"), InvalidArgument)

    def test_an_image_in_use_loses_its_names(self) -> None:
        """The container runs on, the image stays until that is gone, and asking again by id is refused."""
        identifier = self.pull()
        container = self.result(self.memory.client.create_container("c", {"Image": NAME}))
        self.result(self.memory.client.start_container(container))
        self.remove(NAME)
        self.assertEqual(self.names(), set())
        self.assertTrue(self.memory.container("c").running)
        self.assertIsNotNone(self.images.snapshot.status(identifier))
        self.failure(self.images.remove(identifier), FailedPrecondition)
        self.remove(NAME)

    def test_an_image_that_is_mounted_is_kept_whole(self) -> None:
        """Its names too."""
        identifier = self.pull()
        images = Images(self.memory.client, Config(), self.clock, DockerConfigs(), lambda: {identifier})
        self.failure(images.remove(NAME), FailedPrecondition)
        self.assertIn(NAME, self.memory.images.all[identifier].tags)

    def test_other_failures_are_told(self) -> None:
        """A conflict that is not about use, or a failing engine."""
        self.pull()
        self.memory.fail("DELETE /images/.*", 409, "something else")
        self.failure(self.images.remove(NAME), FailedPrecondition)
        self.memory.fail("DELETE /images/.*", 500, "disk")
        self.failure(self.images.remove(NAME), EngineFailure)


class PinTests(ImagesCase):
    """Images that a kubelet is to leave alone."""

    def pinned(self, **config: Any) -> set[str]:
        """Tags of pinned images."""
        images = self.make(**config)
        self.result(images.refresh())
        return {tag for image in images.snapshot.list() if image.pinned for tag in image.repo_tags}

    def test_the_sandbox_image_is_pinned(self) -> None:
        """Our own, or the operator's, in whatever spelling."""
        self.memory.images.add("criwist/pause:1.0")
        self.memory.images.add("my/pause")
        self.assertEqual(self.pinned(), {"criwist/pause:1.0"})
        self.assertEqual(self.pinned(pod_infra_container_image="docker.io/my/pause:latest"), {"my/pause:latest"})

    def test_patterns_and_labels(self) -> None:
        """Of short and full names, and of labels with and without value."""
        self.memory.images.add("busybox:1", config={"Labels": {"keep": "yes"}})
        self.memory.images.add(NAME, config={"Labels": {"keep": "no"}})
        self.assertEqual(self.pinned(pinned_images=("docker.io/library/*",)), {"busybox:1"})
        self.assertEqual(self.pinned(pinned_images=("registry.example/*:1",)), {NAME})
        self.assertEqual(self.pinned(pinned_image_labels=("keep=yes",)), {"busybox:1"})
        self.assertEqual(self.pinned(pinned_image_labels=("keep",)), {"busybox:1", NAME})


class FilesystemTests(ImagesCase):
    """ImageFsInfo."""

    def entry(self, identifier: str, *layers: tuple[str, int], size: int = 0) -> ImageEntry:
        """An image of these layers, lowest first."""
        history = [{"Size": bytes_} for _, bytes_ in reversed(layers)] + [{"Size": 0}]
        inspected = {"RootFS": {"Layers": [digest for digest, _ in layers]}}
        return ImageEntry(pb.Image(id=identifier, size=size or sum(one for _, one in layers)), inspected, history)

    def test_shared_layers_count_once(self) -> None:
        """A layer on the same layers is one; the same digest on other layers is another."""
        base = ("base", 100)
        self.assertEqual(bytes_of([self.entry("1", base, ("a", 10)), self.entry("2", base, ("b", 5))]), 115)
        self.assertEqual(bytes_of([self.entry("1", base), self.entry("2", ("x", 1), base)]), 201)
        self.assertEqual(bytes_of([]), 0)

    def test_compressed_content_beside_the_layers_counts(self) -> None:
        """As the containerd image store keeps it."""
        self.assertEqual(bytes_of([self.entry("1", ("a", 10), size=14)]), 14)

    def test_shared_content_counts_once(self) -> None:
        """The compressed layers that images share are the same files, too."""
        base = ("base", 100)
        images = [self.entry("1", base, size=130), self.entry("2", base, ("b", 10), size=143), self.entry("3", base)]
        self.assertEqual(bytes_of(images), 143)

    def test_image_without_a_history(self) -> None:
        """An image of which the engine tells no layers takes what it says, once for the same layers."""
        nameless = [ImageEntry(pb.Image(id=one, size=50), {"RootFS": {"Layers": ["a"]}}, ()) for one in ("1", "2")]
        self.assertEqual(bytes_of(nameless), 50)

    def test_size_with_the_containerd_image_store(self) -> None:
        """An image takes what was pulled, which its inspection tells, and what was unpacked, as the history has it."""
        self.memory.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
        self.result(self.memory.client.connect())
        self.memory.images.add("busybox", size=70)
        self.result(self.images.refresh())
        image = self.images.snapshot.status("busybox")
        self.assertEqual(image.size if image else 0, 140)
        self.assertEqual(self.images.filesystem().image_filesystems[0].used_bytes.value, 140)

    def test_the_answer(self) -> None:
        """One file system, where the engine has its layers; inodes only if it can be seen."""
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
    """The id of the image called so."""
    found = images.snapshot.status(name)
    if found is None:
        raise NotFound("image", name)
    return str(found.id)
