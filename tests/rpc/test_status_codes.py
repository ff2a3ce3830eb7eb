"""The table of status codes."""

from __future__ import annotations

import inspect

from grpc import StatusCode
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from criwist import errors
from criwist.rpc.status_codes import _CODES, MAX_DETAILS, status_of


class StatusOfTests(SynchronousTestCase):
    """Every error class has a code."""

    def test_every_error_has_a_code(self) -> None:
        """No error class is missing from the table, and none is UNKNOWN."""
        kinds = {
            kind
            for _, kind in inspect.getmembers(errors, inspect.isclass)
            if issubclass(kind, errors.CriwistError) and kind is not errors.CriwistError
        }
        self.assertEqual(kinds, set(_CODES))
        self.assertNotIn(StatusCode.UNKNOWN, _CODES.values())

    def test_text_is_the_errors_own(self) -> None:
        """The client gets the error's own text."""
        self.assertEqual(
            status_of(errors.InvalidArgument("config.metadata", "must be set"), "RunPodSandbox"),
            (StatusCode.INVALID_ARGUMENT, "config.metadata: must be set"),
        )

    def test_subclass_has_its_parents_code(self) -> None:
        """A subclass needs no row of its own."""

        class NoSuchLayer(errors.NotFound):
            pass

        self.assertIs(status_of(NoSuchLayer("layer", "x"), "PullImage")[0], StatusCode.NOT_FOUND)

    def test_cancellation(self) -> None:
        """A cancelled Deferred is a cancelled RPC."""
        self.assertIs(status_of(CancelledError(), "PullImage")[0], StatusCode.CANCELLED)

    def test_bug_is_internal_and_logged(self) -> None:
        """Any other exception is logged with its traceback and becomes INTERNAL, with the operation's name."""
        code, details = status_of(KeyError("State"), "StartContainer")
        self.assertIs(code, StatusCode.INTERNAL)
        self.assertIn("StartContainer", details)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_long_texts_are_cut(self) -> None:
        """A text that would not fit a header is shortened, not lost."""
        _, details = status_of(errors.EngineFailure("x" * 100_000), "PullImage")
        self.assertEqual(len(details), MAX_DETAILS)
