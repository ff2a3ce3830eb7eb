"""Times of the engine: ``criwist.translate.times``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.translate.times import nanoseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NanosecondsTests(SynchronousTestCase):
    """Texts that the engine sends."""

    def test_nanosecond_precision(self) -> None:
        """All nine digits count."""
        self.assertEqual(nanoseconds("1970-01-01T00:00:01.000000001Z"), 1_000_000_001)
        self.assertEqual(nanoseconds("2026-11-23T14:14:32.844458887Z"), 1_795_443_272_844_458_887)

    def test_never(self) -> None:
        """An event that has not happened is 0, never negative."""
        for never in ("0001-01-01T00:00:00Z", "", "1969-12-31T23:59:59.9Z", "1970-01-01T00:00:00+01:00"):
            self.assertEqual(nanoseconds(never), 0, never)

    def test_digits(self) -> None:
        """Fewer digits are a fraction too, and digits beyond the ninth are cut off."""
        self.assertEqual(nanoseconds("1970-01-01T00:00:00.5Z"), 500_000_000)
        self.assertEqual(nanoseconds("1970-01-01T00:00:00.1234567899Z"), 123_456_789)

    def test_leap_second(self) -> None:
        """A leap second is the second after the one before it."""
        self.assertEqual(nanoseconds("2016-12-31T23:59:60Z"), nanoseconds("2017-01-01T00:00:00Z"))


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "٢٠٢٤-01-01T00:00:00Z",
    ],
)
def test_no_time(text: str) -> None:
    """A text that is not an RFC 3339 time is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - also datetime's own
        nanoseconds(text)


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)),
    st.integers(0, 999),
    st.integers(-14 * 60, 14 * 60),
)
def test_any_offset(moment: datetime, below_microsecond: int, offset: int) -> None:
    """A moment is the same number in every time zone."""
    utc = moment.replace(tzinfo=UTC)
    expected = (utc - EPOCH) // timedelta(microseconds=1) * 1000 + below_microsecond
    local = utc.astimezone(timezone(timedelta(minutes=offset)))
    zone = local.strftime("%z")
    text = f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond:06}{below_microsecond:03}{zone[:3]}:{zone[3:5]}"
    assert nanoseconds(text) == expected
