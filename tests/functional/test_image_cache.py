"""The core's images on a real engine: pulls and the image cache, without a daemon around them."""

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

DEADLINE = scaled(4.0)


class ImagesCase(TestCase):
    """A test case with the core's images on the shared engine, and a slow registry of its own."""

    timeout = scaled(90)
    engine: Engine
    registry: SlowRegistry

    @pytest.fixture(autouse=True)
    def _take_engine(self, engine: Engine) -> Iterator[None]:
        self.engine = engine
        self.registry = SlowRegistry()
        self.registry.start()
        yield
        self.registry.stop()

    async def connected(self) -> Images:
        """Return the core's images, subscribed to the engine's events."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        engine_connections = connections(reactor, self.engine.endpoint)
        self.addCleanup(engine_connections.close)
        self.docker = Docker(reactor, engine_connections)
        await self.docker.connect()
        images = Images(
            self.docker, Config(image_pull_progress_deadline=DEADLINE), reactor, DockerConfigs({}, "/nowhere")
        )
        subscribed: Deferred[None] = Deferred()
        feed = Deferred.fromCoroutine(self.docker.events("", lambda: subscribed.callback(None), images.event))
        feed.addErrback(lambda failure: failure.trap(CancelledError))
        self.addCleanup(self.stop, feed, images)
        await subscribed
        await images.refresh()
        return images

    async def stop(self, feed: Deferred[None], images: Images) -> None:
        """End the feed, and wait until what its events led to has ended: updates of the cache end in their order."""
        feed.cancel()
        await images.refresh()

    def new_name(self) -> str:
        """Return a reference of an image that is not pulled yet, and remove the image afterwards."""
        name = f"{self.registry.host}/{uuid.uuid4().hex}:1"
        self.addCleanup(self.engine.docker, "rmi", "--force", name, check=False)
        return name

    async def eventually(self, poll: Any) -> None:
        """Poll until *poll* returns true."""
        for _ in range(int(scaled(200))):
            if poll():
                return
            await deferLater(self.reactor, 0.05, lambda: None)
        self.fail(f"{poll} did not come true")

    async def raises(self, kind: type[Exception], call: Any) -> str:
        """Return the text of the exception that *call* raises."""
        try:
            await call
        except kind as error:
            return str(error)
        return self.fail(f"{kind.__name__} was not raised")


class PullTests(ImagesCase):
    """Pulls that stall, are slow, are cancelled or are refused."""

    async def test_a_stall_in_a_layer(self) -> None:
        """The deadline cancels a pull that stalls in a layer, in the engine too; the text has layer and bytes."""
        images, name = await self.connected(), self.new_name()
        self.registry.stall_at = self.registry.large // 2
        text = await self.raises(DeadlineExceeded, images.pull(pb.ImageSpec(image=name), None))
        for part in (name, "layer ", "Downloading ", " bytes"):
            self.assertIn(part, text)
        self.registry.crawl()
        await self.eventually(lambda: self.registry.broken_off == 1)
        self.assertIsNone(images.snapshot.status(name))

    async def test_a_registry_that_never_answers(self) -> None:
        """The deadline's time runs before the engine sends its first message."""
        images, name = await self.connected(), self.new_name()
        self.registry.silent = True
        text = await self.raises(DeadlineExceeded, images.pull(pb.ImageSpec(image=name), None))
        self.assertIn("has not answered", text)

    async def test_slow_progress(self) -> None:
        """A pull with slow progress lasts three deadlines, succeeds and returns the id of the image's status."""
        images, name = await self.connected(), self.new_name()
        self.registry.chunk = self.registry.large // 12
        self.registry.pause = DEADLINE / 4
        began = self.reactor.seconds()
        identifier = await images.pull(pb.ImageSpec(image=name), None)
        self.assertGreater(self.reactor.seconds() - began, 2 * DEADLINE)
        found = images.snapshot.status(name)
        self.assertEqual(found and found.id, identifier)

    async def test_cancellation_of_the_last_caller(self) -> None:
        """The engine's pull is cancelled when both of its callers have cancelled."""
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
        """A pull succeeds with a password or its base64 form; without the right one the error has no secret."""
        images = await self.connected()
        self.registry.user, self.registry.password = "me", "s3cret"
        for auth in (None, pb.AuthConfig(username="me", password="wr0ng")):
            text = await self.raises(PermissionDenied, images.pull(pb.ImageSpec(image=self.new_name()), auth))
            self.assertNotIn("wr0ng", text)
        for auth in (pb.AuthConfig(username="me", password="s3cret"), pb.AuthConfig(auth="bWU6czNjcmV0")):
            self.assertTrue(await images.pull(pb.ImageSpec(image=self.new_name()), auth))

    async def test_a_registry_that_is_down(self) -> None:
        """The texts for status 502, 503 and 504 begin as kubelet matches them; that for 500 does not."""
        images = await self.connected()
        for status in (502, 503, 504):
            self.registry.status = status
            text = await self.raises(Unavailable, images.pull(pb.ImageSpec(image=self.new_name()), None))
            self.assertTrue(text.startswith("RegistryUnavailable: "), text)
        self.registry.status = 500
        text = await self.raises(Exception, images.pull(pb.ImageSpec(image=self.new_name()), None))
        self.assertFalse(text.startswith("RegistryUnavailable"), text)


class CacheTests(ImagesCase):
    """The cache follows the engine."""

    def names(self, images: Images) -> set[str]:
        """Return all tags in the cache."""
        return {tag for image in images.snapshot.list() for tag in image.repo_tags}

    async def test_changes_by_other_clients(self) -> None:
        """The cache has a load, a tag, a moved tag, an untag and an import of another client within seconds."""
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

    async def test_removal_of_an_image_in_use(self) -> None:
        """A running and a stopped container survive the removal of their image and can be started again."""
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
