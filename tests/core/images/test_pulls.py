"""Pulls are shared, and cancelled when they stall or when their last caller cancels."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.images.pulls import Pulls
from criwist.errors import DeadlineExceeded, EngineFailure, NotFound, PermissionDenied, Unavailable
from criwist.interfaces.engine import JSONObject
from criwist.reference import Reference, parse
from tests.doubles.engine_server import Refusal
from tests.doubles.memory_docker import MemoryDocker
from tests.doubles.memory_images import RemoteImage

NAME = "registry.example/app:1"
REFERENCE = parse(NAME)


def downloading(current: int) -> JSONObject:
    """Return a progress message of the layer."""
    return {"status": "Downloading", "id": "0123456789ab", "progressDetail": {"current": current, "total": 900}}


class PullsTests(SynchronousTestCase):
    """Pulls of a memory engine."""

    def setUp(self) -> None:
        """Use a deadline of ten seconds."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.pulls = Pulls(self.memory.client, self.clock, 10.0, self.image_id)

    async def image_id(self, reference: Reference) -> str:
        """Return the id of the image that was pulled."""
        return str((await self.memory.client.inspect_image(str(reference)))["Id"])

    def offer(self, **remote: Any) -> None:
        """Add the image to the registry."""
        self.memory.registry[NAME] = RemoteImage(**remote)

    def pull(self, auth: JSONObject | None = None) -> Deferred[str]:
        """Start a call of ``pull``."""
        return Deferred.fromCoroutine(self.pulls.pull(REFERENCE, auth))

    def timers(self) -> list[str]:
        """Return the delayed calls, except those of idle connections."""
        calls = [str(call) for call in self.clock.getDelayedCalls()]
        return [call for call in calls if "_removeConnection" not in call]

    def engine_pulls(self) -> int:
        """Return the number of pull requests to the engine."""
        return self.memory.requests.count("POST /images/create")

    def test_a_pull_returns_the_id(self) -> None:
        """A pull returns the image's id."""
        self.offer()
        identifier = self.successResultOf(self.pull())
        self.assertEqual(list(self.memory.images.all), [identifier])
        self.assertEqual(self.timers(), [])

    def test_equal_pulls_are_one(self) -> None:
        """Two callers share one pull and its result; a caller after its end starts a new one."""
        self.offer(script=[(5, downloading(1))])
        callers = [self.pull({"username": "me"}), self.pull({"username": "me"})]
        self.assertEqual(self.engine_pulls(), 1)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(callers[0]), self.successResultOf(callers[1]))
        self.pull({"username": "me"})
        self.assertEqual(self.engine_pulls(), 2)

    def test_other_credentials_make_another_pull(self) -> None:
        """No caller gets an image with another caller's credentials."""
        self.offer(script=[(5, downloading(1))], username="me", password="pw")
        right = self.pull({"username": "me", "password": "pw"})
        self.failureResultOf(self.pull(None), PermissionDenied)
        self.assertEqual(self.engine_pulls(), 2)
        self.clock.advance(5)
        self.successResultOf(right)

    def test_a_cancelled_caller_does_not_affect_the_others(self) -> None:
        """The cancelled caller gets CancelledError; the engine's pull goes on."""
        self.offer(script=[(5, downloading(1))])
        first, second = self.pull(), self.pull()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(5)
        self.successResultOf(second)
        self.assertEqual(self.memory.abandoned_pulls, [])

    def test_the_last_caller_cancels_the_pull(self) -> None:
        """The connection to the engine is closed, and the next caller starts a new pull."""
        self.offer(stalls=True)
        first, second = self.pull(), self.pull()
        first.cancel()
        second.cancel()
        self.clock.advance(0)
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.memory.abandoned_pulls, [NAME])
        self.offer()
        self.successResultOf(self.pull())
        self.assertEqual(self.timers(), [])

    def test_a_stall_ends_the_pull_with_its_last_progress(self) -> None:
        """The error names the image, the layer and the bytes, and the engine's pull is cancelled."""
        self.offer(script=[(4, downloading(300))], stalls=True)
        first, second = self.pull(), self.pull()
        self.clock.pump([1.0] * 13)
        self.assertNoResult(first)
        self.clock.advance(1.1)
        error = str(self.failureResultOf(first, DeadlineExceeded).value)
        self.failureResultOf(second, DeadlineExceeded)
        for part in (NAME, "0123456789ab", "Downloading 300 of 900 bytes", "10 s"):
            self.assertIn(part, error)
        self.clock.advance(0)
        self.assertEqual(self.memory.abandoned_pulls, [NAME])

    def test_a_registry_that_never_answers(self) -> None:
        """The deadline starts with the request, before any answer of the engine."""
        self.memory.hold("POST /images/create")
        waiting = self.pull()
        self.clock.advance(10.1)
        self.assertIn("has not answered", str(self.failureResultOf(waiting, DeadlineExceeded).value))

    def test_a_trickle_is_no_stall(self) -> None:
        """Progress every nine seconds keeps a pull alive for as long as it takes."""
        self.offer(script=[(9, downloading(current)) for current in range(100)])
        waiting = self.pull()
        self.clock.pump([1.0] * 901)
        self.successResultOf(waiting)

    def test_long_extraction_is_no_stall(self) -> None:
        """The clock stops while a layer is extracted, and starts again afterwards."""
        extracting = {**downloading(900), "status": "Extracting"}
        complete = {"status": "Pull complete", "id": "0123456789ab", "progressDetail": {}}
        self.offer(script=[(1, extracting), (500, complete)], stalls=True)
        waiting = self.pull()
        self.clock.pump([1.0] * 510)
        self.assertNoResult(waiting)
        self.clock.pump([1.0] * 11)
        self.failureResultOf(waiting, DeadlineExceeded)

    def test_without_deadline(self) -> None:
        """With a deadline of 0 a pull is never cancelled."""
        self.pulls = Pulls(self.memory.client, self.clock, 0.0, self.image_id)
        self.offer(stalls=True)
        waiting = self.pull()
        self.clock.advance(1e6)
        self.assertNoResult(waiting)

    def test_an_unavailable_registry(self) -> None:
        """502, 503 and 504, in old and new engines' words, begin with ``RegistryUnavailable:`` for the kubelet."""
        for words in (
            "received unexpected HTTP status: 503 Service Unavailable",
            "received unexpected HTTP status: 502 Bad Gateway",
            'failed to resolve reference "registry.example/app:1": unexpected status from HEAD request to '
            "http://registry.example/v2/app/manifests/1: 504 Gateway Timeout",
        ):
            self.offer(refusal=Refusal(500, words))
            error = self.failureResultOf(self.pull(), Unavailable).value
            self.assertTrue(str(error).startswith("RegistryUnavailable:"), str(error))
            self.assertIn(words, str(error))

    def test_other_failures_keep_the_engine_s_words(self) -> None:
        """A registry's 500, and an error in the middle of the stream, are EngineFailure."""
        self.offer(refusal=Refusal(500, "received unexpected HTTP status: 500 Internal Server Error"))
        self.assertIn("500 Internal", str(self.failureResultOf(self.pull(), EngineFailure).value))
        self.offer(script=[(0, {"errorDetail": {"message": "no space left"}, "error": "no space left"})])
        self.assertIn("no space left", str(self.failureResultOf(self.pull(), EngineFailure).value))

    def test_denied(self) -> None:
        """A registry that wants credentials is PermissionDenied."""
        self.offer(refusal=Refusal(500, 'Head "http://registry.example/v2/app/manifests/1": no basic auth credentials'))
        self.failureResultOf(self.pull(), PermissionDenied)

    def test_an_unknown_image(self) -> None:
        """The engine's 404 is NotFound, which names the image."""
        self.offer(refusal=Refusal(404, "manifest for registry.example/app:1 not found: manifest unknown"))
        self.assertIn(NAME, str(self.failureResultOf(self.pull(), NotFound).value))

    def test_docker_disconnects(self) -> None:
        """All callers get Unavailable."""
        self.offer(stalls=True)
        waiting = [self.pull(), self.pull()]
        self.memory.away()
        for one in waiting:
            self.failureResultOf(one, Unavailable)
