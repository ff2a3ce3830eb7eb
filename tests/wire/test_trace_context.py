"""A trace id is taken from a well-formed traceparent of a recorded trace, and from nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criwist.wire.trace_context import recorded_trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_recorded(flags: str) -> None:
    """The id of a sampled trace is returned, whatever flags it has beside that."""
    assert recorded_trace(f"00-{TRACE}-{SPAN}-{flags}") == TRACE


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_not_recorded(flags: str) -> None:
    """A trace that is not sampled has no id that is worth keeping."""
    assert recorded_trace(f"00-{TRACE}-{SPAN}-{flags}") is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}g-01",
        f"00_{TRACE}_{SPAN}_01",
        f"01-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_malformed(header: str) -> None:
    """Another form, other digits, ids of zeros and other versions have no trace."""
    assert recorded_trace(header) is None


@given(st.text(alphabet="0123456789abcdefABCDEF-xyz \n\x00٣", max_size=70))
def test_any_text(header: str) -> None:
    """Any text gives an id of 32 digits or none, and raises nothing."""
    trace = recorded_trace(header)
    assert trace is None or re.fullmatch("[0-9a-f]{32}", trace)
