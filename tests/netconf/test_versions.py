"""Versions of the CNI specification."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from criwist.netconf.plugin_errors import MalformedDocument
from criwist.netconf.versions import (
    SPEC_VERSIONS,
    at_least,
    has_check,
    has_collection,
    has_previous_result_on_delete,
    has_status,
    known,
    newest_first,
    read_supported_versions,
)


class VersionTests(SynchronousTestCase):
    """Known versions, and their order."""

    def test_order(self) -> None:
        """Versions are in the order of their release, not of their letters."""
        for older, newer in itertools.pairwise(SPEC_VERSIONS):
            self.assertTrue(at_least(newer, older))
            self.assertFalse(at_least(older, newer))
        self.assertTrue(at_least("1.0.0", "1.0.0"))

    def test_what_each_brought(self) -> None:
        """Each command and member is used from its version on."""
        self.assertEqual([v for v in SPEC_VERSIONS if has_check(v)], ["0.4.0", "1.0.0", "1.1.0"])
        self.assertEqual([v for v in SPEC_VERSIONS if has_previous_result_on_delete(v)], ["0.4.0", "1.0.0", "1.1.0"])
        self.assertEqual([v for v in SPEC_VERSIONS if has_status(v)], ["1.1.0"])
        self.assertEqual([v for v in SPEC_VERSIONS if has_collection(v)], ["1.1.0"])

    def test_newest_first(self) -> None:
        """Unknown versions and duplicates are dropped."""
        self.assertEqual(newest_first(["0.3.1", "2.0.0", "1.0.0", "0.3.1"]), ("1.0.0", "0.3.1"))
        self.assertFalse(known("1.0"))


class AnswerTests(SynchronousTestCase):
    """Answers to VERSION."""

    def test_versions(self) -> None:
        """The plugin's versions keep their order."""
        answer = {"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "9.9.9"]}
        self.assertEqual(read_supported_versions(answer), ("0.4.0", "1.0.0", "9.9.9"))

    def test_first_plugins(self) -> None:
        """A plugin of the version that introduced the command may omit the member."""
        self.assertEqual(read_supported_versions({"cniVersion": "0.2.0"}), ("0.1.0", "0.2.0"))

    def test_nonsense(self) -> None:
        """Anything else is refused."""
        answer: object
        for answer in (
            None,
            [],
            {},
            {"cniVersion": 1},
            {"cniVersion": "0.4.0"},
            {"cniVersion": "0.4.0", "supportedVersions": "1.0.0"},
            {"cniVersion": "0.4.0", "supportedVersions": [1]},
        ):
            self.assertRaises(MalformedDocument, read_supported_versions, answer)
