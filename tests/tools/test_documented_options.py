"""The table of options in README.rst."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.document_options import README, documented


class OptionsTableTests(SynchronousTestCase):
    """The table is generated."""

    def test_readme_has_the_options_there_are(self) -> None:
        """README.rst has the table that tools/document_options.py writes."""
        readme = README.read_text(encoding="utf-8")
        self.assertEqual(readme, documented(readme), "run tools/document_options.py")

    def test_readme_without_a_place(self) -> None:
        """A README without the two markers is an error, not a README without options."""
        self.assertRaises(ValueError, documented, "nothing")
