"""Error responses of the engine and failed connections become criwist's errors."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from criwist.docker.error_responses import (
    MAX_MESSAGE,
    error_from_connection,
    error_from_response,
    error_message,
    is_image_in_use,
    is_not_running,
    is_registry_denial,
    is_removal_in_progress,
    name_holder,
    pull_error,
    registry_status,
    unavailable_capability,
)
from criwist.errors import (
    CapabilityUnavailable,
    CriwistError,
    EngineFailure,
    FailedPrecondition,
    ImageInUse,
    InvalidArgument,
    NameConflict,
    NotFound,
    PermissionDenied,
    RegistryDenied,
    RegistryUnavailable,
    Unavailable,
)

ID = "ab" * 32


class ErrorResponseTests(SynchronousTestCase):
    """Error responses by status."""

    def test_each_status_has_its_kind(self) -> None:
        """Each status gives the error that IDocker documents."""
        kinds = {400: InvalidArgument, 401: PermissionDenied, 403: PermissionDenied, 404: NotFound}
        kinds |= {409: FailedPrecondition, 500: EngineFailure, 503: EngineFailure, 418: EngineFailure}
        for status, kind in kinds.items():
            error = error_from_response(status, "the reason", "container", "x")
            self.assertIs(type(error), kind)
            self.assertIn("the reason", str(error))

    def test_a_404_names_what_is_missing(self) -> None:
        """A 404 names the thing of the call, or another one that its text names; an unknown text is kept."""
        for text, kind, name in (
            ("No such container: x", "container", "x"),
            ("No such image: y:latest", "image", "y:latest"),
            ("no such image: y: No such image: y", "image", "y"),
            ("No such exec instance: x", "container", "x"),
        ):
            error: Any = error_from_response(404, text, "container", "x")
            expected = "exec" if "exec" in text else kind
            self.assertEqual((error.kind, error.name), (expected, name))
        error = error_from_response(404, "network n not found", "container", "x")
        self.assertEqual((error.kind, error.name), ("container", "x"))
        self.assertIn("network n not found", str(error))

    def test_errors_that_the_core_acts_on(self) -> None:
        """Conflicts and refusals that the core acts on are subclasses, which carry what it needs."""
        taken = f'Conflict. The container name "/x" is already in use by container "{ID}". You have to remove'
        conflict = error_from_response(409, taken, "container", "x")
        assert isinstance(conflict, NameConflict)
        self.assertEqual((conflict.holder, str(conflict)), (ID, taken))
        in_use = "conflict: unable to delete 456 (cannot be forced) - image is being used by running container 123"
        self.assertIs(type(error_from_response(409, in_use, "image", "x")), ImageInUse)
        refusal = error_from_response(400, 'invalid CapDrop: unknown capability: "CAP_BPF"', "container", "x")
        assert isinstance(refusal, CapabilityUnavailable)
        self.assertEqual(refusal.capability, "CAP_BPF")

    def test_pulls_that_the_registry_fails(self) -> None:
        """The error of a failed pull blames the registry if its text does; the text stays."""
        for error, kind in (
            (EngineFailure("received unexpected HTTP status: 503 Service Unavailable"), RegistryUnavailable),
            (EngineFailure("unauthorized: authentication required"), RegistryDenied),
            (NotFound("image", "x", "pull access denied for x"), RegistryDenied),
        ):
            self.assertEqual((type(pull_error(error)), str(pull_error(error))), (kind, str(error)))
        other = EngineFailure("manifest unknown")
        self.assertIs(pull_error(other), other)

    def test_long_and_empty_messages(self) -> None:
        """A long message is cut, an empty one is replaced by the status."""
        self.assertLess(len(str(error_from_response(500, "x" * 100_000, "container", "x"))), MAX_MESSAGE + 100)
        self.assertIn("507", str(error_from_response(507, " ", "container", "x")))

    def test_error_bodies(self) -> None:
        """The text comes from a JSON object's message, from plain text, or from any other body."""
        self.assertEqual(error_message(b'{"message":"no"}'), "no")
        for body in (b"page not found", b"[1]", b'"x"', b"{}"):
            self.assertEqual(error_message(body), body.decode())
        self.assertTrue(error_message(b"\xff"))


class ConnectionErrorTests(SynchronousTestCase):
    """Failed connections."""

    def test_a_lost_connection_is_an_engine_that_is_away(self) -> None:
        """A lost connection is Unavailable with the reason, wrapped or not."""
        wrapped = ResponseNeverReceived([Failure(ConnectionLost("gone"))])
        for error in (ConnectError(osError=2, string="no such file"), ConnectionDone(), wrapped):
            found = error_from_connection(error)
            self.assertIsInstance(found, Unavailable)
            self.assertTrue(str(found).startswith("Docker is away: "), str(found))
        self.assertIn("no such file", str(error_from_connection(ConnectError(osError=2, string="no such file"))))

    def test_what_we_dropped_is_a_cancellation(self) -> None:
        """A connection that this process dropped is a cancellation, however deep Twisted has wrapped it."""
        wrapped = ResponseFailed([Failure(ResponseNeverReceived([Failure(CancelledError())]))])
        self.assertIsInstance(error_from_connection(wrapped), CancelledError)

    def test_what_is_not_http_is_not_understood(self) -> None:
        """A response that is not HTTP is an EngineFailure, which nothing retries."""
        wrapped = ResponseNeverReceived([Failure(ParseError("wrong number of parts", b"x"))])
        self.assertIsInstance(error_from_connection(wrapped), EngineFailure)


class ErrorTextTests(SynchronousTestCase):
    """Errors that only their text distinguishes."""

    def test_a_taken_name(self) -> None:
        """The holder of a name is read with and without quotes around the id."""
        text = f'Conflict. The container name "/x" is already in use by container "{ID}". You have to remove'
        self.assertEqual(name_holder(FailedPrecondition(text)), ID)
        self.assertEqual(name_holder(FailedPrecondition(text.replace('"', ""))), ID)
        self.assertIsNone(name_holder(FailedPrecondition("Conflict. Something else")))

    def test_states_of_containers(self) -> None:
        """Only a conflict can report that a container does not run."""
        self.assertTrue(is_not_running(FailedPrecondition(f"Cannot kill container: x: Container {ID} is not running")))
        self.assertFalse(is_not_running(EngineFailure("x is not running")))
        self.assertFalse(is_not_running(FailedPrecondition("Conflict. Something else")))

    def test_removals_in_progress(self) -> None:
        """Only a conflict can report that a container is being removed."""
        self.assertTrue(is_removal_in_progress(FailedPrecondition(f"removal of container {ID} is already in progress")))
        self.assertFalse(is_removal_in_progress(EngineFailure(f"removal of container {ID} is already in progress")))
        self.assertFalse(is_removal_in_progress(FailedPrecondition("Conflict. Something else")))

    def test_capability_not_dropped(self) -> None:
        """The capability is read from the texts of all engine versions."""
        for words in (
            "unknown capability",
            "capability not supported by your kernel or not available in the current environment",
        ):
            error = InvalidArgument("docker", f'invalid CapDrop: {words}: "CAP_CHECKPOINT_RESTORE"')
            self.assertEqual(unavailable_capability(error), "CAP_CHECKPOINT_RESTORE")
        self.assertIsNone(unavailable_capability(InvalidArgument("docker", 'invalid CapAdd: x: "CAP_BPF"')))

    def test_an_image_in_use(self) -> None:
        """The texts of engines 20.10 to 29 are recognized, by name and by id."""
        for text in (
            'conflict: unable to remove repository reference "x:1" (must force) - container 123 is using its '
            "referenced image 456",
            "conflict: unable to delete 456 (cannot be forced) - image is being used by running container 123",
            "conflict: unable to delete x:1 (must be forced) - container 123 is using its referenced image 456",
        ):
            self.assertTrue(is_image_in_use(FailedPrecondition(text)), text)

    def test_registries(self) -> None:
        """The status of a registry is read in both forms; a port or a path is not a status."""
        for text, status in (
            ("received unexpected HTTP status: 503 Service Unavailable", 503),
            ("unexpected status from GET request to https://r:500/v2/503/manifests/1: 502 Bad Gateway", 502),
            ("unexpected status code 504 Gateway Timeout", 504),
        ):
            self.assertEqual(registry_status(EngineFailure(text)), status)
        self.assertIsNone(registry_status(EngineFailure("dial tcp 127.0.0.1:503: connect: connection refused")))

    def test_refusals_of_registries(self) -> None:
        """The registry's texts and the engine's own are recognized."""
        for text in (
            "unauthorized: authentication required",
            "denied: requested access to the resource is denied",
            'Head "http://r/v2/a/manifests/1": no basic auth credentials',
            "pull access denied for x, repository does not exist or may require 'docker login'",
        ):
            self.assertTrue(is_registry_denial(EngineFailure(text)), text)
        self.assertFalse(is_registry_denial(EngineFailure("manifest unknown")))


@given(st.integers(400, 599), st.text(max_size=60), st.binary(max_size=60))
@settings(max_examples=100)
def test_every_answer_is_an_error_of_ours(status: int, name: str, body: bytes) -> None:
    """Every response gives one of criwist's errors."""
    assert isinstance(error_from_response(status, error_message(body), "container", name), CriwistError)
