"""The table of options in the README."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.document_options import README, documented


class OptionsTableTests(SynchronousTestCase):
    """The table is made, not written."""

    def test_readme_has_the_options_there_are(self) -> None:
        """README.rst is what tools/document_options.py makes of it."""
        readme = README.read_text(encoding="utf-8")
        self.assertEqual(readme, documented(readme))

    def test_readme_without_a_place(self) -> None:
        """A README without the two marks is an error, not a README without options."""
        self.assertRaises(ValueError, documented, "nothing")
