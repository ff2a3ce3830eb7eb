"""Images of a real engine as the core keeps them: what a CRI client cannot see, or not without a whole daemon."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.config import Config
from criwist.core.images.credentials import DockerConfigs
from criwist.core.images.images import Images
from criwist.docker.agent import connections
from criwist.docker.client import Docker
from criwist.errors import DeadlineExceeded, PermissionDenied, Unavailable
from tests.harness.clock import scaled
from tests.harness.engine import Engine
from tests.harness.images import variant
from tests.harness.slow_registry import SlowRegistry

DEADLINE = scaled(2.0)


class ImagesCase(TestCase):
    """The core's images on the shared engine, with a registry that does as it is told."""

    timeout = scaled(90)
    engine: Engine
    registry: SlowRegistry

    @pytest.fixture(autouse=True)
    def _take(self, engine: Engine) -> Iterator[None]:
        self.engine = engine
        self.registry = SlowRegistry()
        self.registry.start()
        yield
        self.registry.stop()

    async def connected(self) -> Images:
        """Images, fed with the engine's events from now on."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        ways = connections(reactor, self.engine.endpoint)
        self.addCleanup(ways.close)
        self.docker = Docker(reactor, ways)
        await self.docker.connect()
        images = Images(
            self.docker, Config(image_pull_progress_deadline=DEADLINE), reactor, DockerConfigs({}, "/nowhere")
        )
        following: Deferred[None] = Deferred()
        feed = Deferred.fromCoroutine(self.docker.events("", lambda: following.callback(None), images.event))
        feed.addErrback(lambda failure: failure.trap(CancelledError))
        self.addCleanup(feed.cancel)
        await following
        await images.refresh()
        return images

    def new_name(self) -> str:
        """A reference that nobody has pulled; its image is removed afterwards."""
        name = f"{self.registry.host}/{uuid.uuid4().hex}:1"
        self.addCleanup(self.engine.docker, "rmi", "--force", name, check=False)
        return name

    async def eventually(self, look: Any) -> None:
        """Wait until *look* is true."""
        for _ in range(int(scaled(200))):
            if look():
                return
            await deferLater(self.reactor, 0.05, lambda: None)
        self.fail(f"{look} did not come true")

    async def raises(self, kind: type[Exception], call: Any) -> str:
        """The text of the exception that *call* raises."""
        try:
            await call
        except kind as error:
            return str(error)
        return self.fail(f"{kind.__name__} was not raised")


class PullTests(ImagesCase):
    """Pulls."""

    async def test_a_stall_in_a_layer(self) -> None:
        """The pull is given up with the layer and its bytes, and the engine gives the layer up too."""
        images, name = await self.connected(), self.new_name()
        self.registry.stall_at = self.registry.large // 2
        text = await self.raises(DeadlineExceeded, images.pull(pb.ImageSpec(image=name), None))
        for part in (name, "layer ", "Downloading ", " bytes"):
            self.assertIn(part, text)
        self.registry.crawl()
        await self.eventually(lambda: self.registry.broken_off == 1)
        self.assertIsNone(images.snapshot.status(name))

    async def test_a_registry_that_never_answers(self) -> None:
        """The clock runs before the engine has said a word."""
        images, name = await self.connected(), self.new_name()
        self.registry.silent = True
        text = await self.raises(DeadlineExceeded, images.pull(pb.ImageSpec(image=name), None))
        self.assertIn("has not answered", text)

    async def test_a_trickle(self) -> None:
        """Slow is not still: the pull lasts three deadlines and ends well, under the id that status has."""
        images, name = await self.connected(), self.new_name()
        self.registry.chunk = self.registry.large // 12
        self.registry.pause = DEADLINE / 4
        began = self.reactor.seconds()
        identifier = await images.pull(pb.ImageSpec(image=name), None)
        self.assertGreater(self.reactor.seconds() - began, 2 * DEADLINE)
        found = images.snapshot.status(name)
        self.assertEqual(found and found.id, identifier)

    async def test_the_last_caller_s_going_cancels(self) -> None:
        """One of two leaves the other his; when both are gone the engine gives the layer up."""
        images, name = await self.connected(), self.new_name()
        self.registry.stall_at = self.registry.large // 2
        callers = [Deferred.fromCoroutine(images.pull(pb.ImageSpec(image=name), None)) for _ in range(2)]
        await self.eventually(lambda: self.registry.stalled == 1)
        for caller in callers:
            caller.addErrback(lambda failure: failure.trap(CancelledError))
            caller.cancel()
        self.registry.crawl()
        await self.eventually(lambda: self.registry.broken_off == 1)

    async def test_credentials(self) -> None:
        """Password, base64 form and none; the refusals have their kind and do not tell the secret."""
        images = await self.connected()
        self.registry.user, self.registry.password = "me", "s3cret"
        for auth in (None, pb.AuthConfig(username="me", password="wr0ng")):
            text = await self.raises(PermissionDenied, images.pull(pb.ImageSpec(image=self.new_name()), auth))
            self.assertNotIn("wr0ng", text)
        for auth in (pb.AuthConfig(username="me", password="s3cret"), pb.AuthConfig(auth="bWU6czNjcmV0")):
            self.assertTrue(await images.pull(pb.ImageSpec(image=self.new_name()), auth))

    async def test_a_registry_that_is_away(self) -> None:
        """502, 503 and 504 have the words that a kubelet looks for, 500 has not."""
        images = await self.connected()
        for status in (502, 503, 504):
            self.registry.status = status
            text = await self.raises(Unavailable, images.pull(pb.ImageSpec(image=self.new_name()), None))
            self.assertTrue(text.startswith("RegistryUnavailable: "), text)
        self.registry.status = 500
        text = await self.raises(Exception, images.pull(pb.ImageSpec(image=self.new_name()), None))
        self.assertFalse(text.startswith("RegistryUnavailable"), text)


class CopyTests(ImagesCase):
    """The copy follows the engine."""

    def names(self, images: Images) -> set[str]:
        """All tags in the copy."""
        return {tag for image in images.snapshot.list() for tag in image.repo_tags}

    async def test_changes_behind_our_back(self) -> None:
        """Load, tag, a tag that moves, untag, import and removal show within a second or so."""
        images = await self.connected()
        tag = f"criwist.test/{uuid.uuid4().hex}"
        self.addCleanup(self.engine.docker, "rmi", "--force", f"{tag}:1", f"{tag}:2", f"{tag}:3", check=False)
        first, second = variant(f"{tag} 1"), variant(f"{tag} 2")
        self.engine.request("POST", "/images/load?quiet=1", first.archive(f"{tag}:1"))
        await self.eventually(lambda: f"{tag}:1" in self.names(images))
        self.engine.post(f"/images/{tag}:1/tag", repo=tag, tag="2")
        await self.eventually(lambda: f"{tag}:2" in self.names(images))
        self.engine.request("POST", "/images/load?quiet=1", second.archive(f"{tag}:1"))
        await self.eventually(lambda: images.snapshot.status(f"{tag}:1").id == second.id)  # type: ignore[union-attr]
        self.assertEqual(list(images.snapshot.status(first.id).repo_tags), [f"{tag}:2"])  # type: ignore[union-attr]
        self.engine.delete(f"/images/{tag}:1")
        await self.eventually(lambda: images.snapshot.status(second.id) is None)
        self.engine.request("POST", f"/images/create?fromSrc=-&repo={tag}&tag=3", b"\0" * 10240)
        await self.eventually(lambda: f"{tag}:3" in self.names(images))

    async def test_removal_spares_containers(self) -> None:
        """A running and a stopped container survive the removal of their image, and can be started again."""
        images = await self.connected()
        for state in ("running", "stopped"):
            tag = f"criwist.test/{uuid.uuid4().hex}:1"
            self.engine.request("POST", "/images/load?quiet=1", variant(tag).archive(tag))
            body = {"Image": tag, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
            container = await self.docker.create_container(uuid.uuid4().hex, body)
            self.addCleanup(self.engine.docker, "rm", "--force", container, check=False)
            if state == "running":
                await self.docker.start_container(container)
            await images.remove(tag)
            self.assertIsNone(images.snapshot.status(tag), state)
            if state == "running":
                await self.docker.kill_container(container, "KILL")
                await self.docker.stop_container(container, 0)
            await self.docker.start_container(container)
            self.assertTrue((await self.docker.inspect_container(container))["State"]["Running"], state)
