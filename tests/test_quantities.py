"""Kubernetes quantities."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.quantities import whole_quantity


class QuantityTests(SynchronousTestCase):
    """Forms of a quantity."""

    def test_values(self) -> None:
        """Suffixes are decimal or binary; exponents are decimal; a fraction rounds up."""
        for text, value in (
            ("0", 0),
            ("5", 5),
            ("+5", 5),
            ("1k", 1000),
            ("10M", 10_000_000),
            ("1.5Gi", 3 << 29),
            (".5k", 500),
            ("2.", 2),
            ("1e3", 1000),
            ("1E3", 1000),
            ("2E", 2 * 10**18),
            ("1Ei", 1 << 60),
            ("1e-1", 1),
            ("100m", 1),
            ("1001m", 2),
            ("-1500m", -1),
        ):
            self.assertEqual(whole_quantity(text), value, text)

    def test_refused(self) -> None:
        """Other spellings are none."""
        for text in ("", " 1", "1 M", "1K", "1mi", "1kb", "1e", "e3", ".", "--1", "1_000", "٣", "0x10", "1e1234"):
            self.assertRaises(ValueError, whole_quantity, text)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M", "Ki", "Mi"]))
def test_quantity_scales(number: int, suffix: str) -> None:
    """A whole number keeps its value times its suffix's."""
    scale = {"": 1, "k": 10**3, "M": 10**6, "Ki": 2**10, "Mi": 2**20}[suffix]
    assert whole_quantity(f"{number}{suffix}") == number * scale
