"""What ``make node-test`` makes of its arguments."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.node.__main__ import divide
from tools.node.selection import inside


class ArgumentsTests(SynchronousTestCase):
    """Paths say where tests run, and what else there is goes to pytest in both places."""

    def test_nothing_is_both(self) -> None:
        """Without paths the tests of the unit file run outside, and inside those that are chosen."""
        self.assertEqual(divide([]), (["tests/node"], inside()))

    def test_options_are_no_paths(self) -> None:
        """An option alone narrows the default instead of taking its place."""
        self.assertEqual(divide(["-x"]), (["tests/node", "-x"], [*inside(), "-x"]))

    def test_one_place(self) -> None:
        """Where nothing is to run, pytest is not started, which would take it for everything."""
        self.assertEqual(divide(["tests/node/test_unit_file.py", "-x"]), (["tests/node/test_unit_file.py", "-x"], None))
        self.assertEqual(divide(["tests/functional"]), (None, ["tests/functional"]))

    def test_single_tests(self) -> None:
        """A test is named as pytest names it."""
        named = "tests/functional/test_pause.py::test_reaps_orphans"
        self.assertEqual(divide([named, "tests/node"]), (["tests/node"], [named]))
