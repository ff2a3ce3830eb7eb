"""Pulls are shared, given up when they stand still, and cancelled when nobody waits."""

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
    """A message of the layer under way."""
    return {"status": "Downloading", "id": "0123456789ab", "progressDetail": {"current": current, "total": 900}}


class PullsTests(SynchronousTestCase):
    """Pulls of a memory engine."""

    def setUp(self) -> None:
        """An engine, and a deadline of ten seconds."""
        self.clock = Clock()
        self.memory = MemoryDocker(self.clock)
        self.pulls = Pulls(self.memory.client, self.clock, 10.0, self.learn)

    async def learn(self, reference: Reference) -> str:
        """The id of what was pulled."""
        return str((await self.memory.client.inspect_image(str(reference)))["Id"])

    def offer(self, **remote: Any) -> None:
        """The registry has the image."""
        self.memory.registry[NAME] = RemoteImage(**remote)

    def pull(self, auth: JSONObject | None = None) -> Deferred[str]:
        """A caller."""
        return Deferred.fromCoroutine(self.pulls.pull(REFERENCE, auth))

    def timers(self) -> list[str]:
        """What waits for the clock, but for idle connections."""
        calls = [str(call) for call in self.clock.getDelayedCalls()]
        return [call for call in calls if "_removeConnection" not in call]

    def engine_pulls(self) -> int:
        """How many the engine was asked for."""
        return self.memory.requests.count("POST /images/create")

    def test_a_pull_gives_what_was_learnt(self) -> None:
        """The image's id."""
        self.offer()
        identifier = self.successResultOf(self.pull())
        self.assertEqual(list(self.memory.images.all), [identifier])
        self.assertEqual(self.timers(), [])

    def test_equal_pulls_are_one(self) -> None:
        """Two callers, one pull, one result; a third one afterwards makes a new one."""
        self.offer(script=[(5, downloading(1))])
        callers = [self.pull({"username": "me"}), self.pull({"username": "me"})]
        self.assertEqual(self.engine_pulls(), 1)
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(callers[0]), self.successResultOf(callers[1]))
        self.pull({"username": "me"})
        self.assertEqual(self.engine_pulls(), 2)

    def test_other_credentials_make_another_pull(self) -> None:
        """Nobody gets an image with somebody else's credentials."""
        self.offer(script=[(5, downloading(1))], username="me", password="pw")
        right = self.pull({"username": "me", "password": "pw"})
        self.failureResultOf(self.pull(None), PermissionDenied)
        self.assertEqual(self.engine_pulls(), 2)
        self.clock.advance(5)
        self.successResultOf(right)

    def test_who_goes_leaves_the_others_theirs(self) -> None:
        """A cancelled caller gets CancelledError, the engine's pull goes on."""
        self.offer(script=[(5, downloading(1))])
        first, second = self.pull(), self.pull()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(5)
        self.successResultOf(second)
        self.assertEqual(self.memory.abandoned_pulls, [])

    def test_the_last_one_s_going_cancels_the_pull(self) -> None:
        """The engine sees its client go, and the next caller makes a new pull."""
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
        """The deadline counts before the engine has answered at all."""
        self.memory.hold("POST /images/create")
        waiting = self.pull()
        self.clock.advance(10.1)
        self.assertIn("has not answered", str(self.failureResultOf(waiting, DeadlineExceeded).value))

    def test_a_trickle_is_no_stall(self) -> None:
        """Progress each nine seconds, for a long time."""
        self.offer(script=[(9, downloading(current)) for current in range(100)])
        waiting = self.pull()
        self.clock.pump([1.0] * 901)
        self.successResultOf(waiting)

    def test_long_extraction_is_no_stall(self) -> None:
        """The clock rests while a layer is extracted, and runs again when it has been."""
        extracting = {**downloading(900), "status": "Extracting"}
        complete = {"status": "Pull complete", "id": "0123456789ab", "progressDetail": {}}
        self.offer(script=[(1, extracting), (500, complete)], stalls=True)
        waiting = self.pull()
        self.clock.pump([1.0] * 510)
        self.assertNoResult(waiting)
        self.clock.pump([1.0] * 11)
        self.failureResultOf(waiting, DeadlineExceeded)

    def test_without_deadline(self) -> None:
        """0 waits for ever."""
        self.pulls = Pulls(self.memory.client, self.clock, 0.0, self.learn)
        self.offer(stalls=True)
        waiting = self.pull()
        self.clock.advance(1e6)
        self.assertNoResult(waiting)

    def test_a_registry_that_is_away(self) -> None:
        """502, 503 and 504 get the words by which a kubelet knows it, in old engines' form and new ones'."""
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

    def test_other_failures_are_the_engine_s_words(self) -> None:
        """500 of a registry, and an error in the middle of the stream."""
        self.offer(refusal=Refusal(500, "received unexpected HTTP status: 500 Internal Server Error"))
        self.assertIn("500 Internal", str(self.failureResultOf(self.pull(), EngineFailure).value))
        self.offer(script=[(0, {"errorDetail": {"message": "no space left"}, "error": "no space left"})])
        self.assertIn("no space left", str(self.failureResultOf(self.pull(), EngineFailure).value))

    def test_denied(self) -> None:
        """A registry that wants credentials."""
        self.offer(refusal=Refusal(500, 'Head "http://registry.example/v2/app/manifests/1": no basic auth credentials'))
        self.failureResultOf(self.pull(), PermissionDenied)

    def test_an_unknown_image(self) -> None:
        """The engine's 404 names it."""
        self.offer(refusal=Refusal(404, "manifest for registry.example/app:1 not found: manifest unknown"))
        self.assertIn(NAME, str(self.failureResultOf(self.pull(), NotFound).value))

    def test_docker_goes_away(self) -> None:
        """All who wait are told."""
        self.offer(stalls=True)
        waiting = [self.pull(), self.pull()]
        self.memory.away()
        for one in waiting:
            self.failureResultOf(one, Unavailable)
