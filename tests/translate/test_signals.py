"""Stop signals both ways: ``criwist.translate.signals``."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.translate.signals import cri_signal, docker_signal

SIGNALS = [value for value in pb.Signal.values() if value != pb.SIGNAL_RUNTIME_DEFAULT]


@pytest.mark.parametrize("value", SIGNALS, ids=pb.Signal.Name)
def test_there_and_back(value: int) -> None:
    """Every signal of the CRI has a name for Docker, which reads as the same signal, with and without SIG."""
    name = docker_signal(value)
    assert name.startswith("SIG")
    assert cri_signal(name) == value
    assert cri_signal(name.removeprefix("SIG").lower()) == value


def test_runtime_default() -> None:
    """SIGNAL_RUNTIME_DEFAULT names no signal, and a container without one gets the engine's default."""
    assert docker_signal(pb.SIGNAL_RUNTIME_DEFAULT) == ""
    assert cri_signal("") == pb.SIGNAL_SIGTERM


@pytest.mark.parametrize(
    ("name", "docker"),
    [
        ("SIGNAL_SIGRTMIN", "SIGRTMIN"),
        ("SIGNAL_SIGRTMINPLUS15", "SIGRTMIN+15"),
        ("SIGNAL_SIGRTMAXMINUS1", "SIGRTMAX-1"),
    ],
)
def test_real_time_signals(name: str, docker: str) -> None:
    """Real-time signals are counted from their ends, in Docker's spelling."""
    assert docker_signal(pb.Signal.Value(name)) == docker


@pytest.mark.parametrize("member", list(signal.Signals), ids=lambda member: member.name)
def test_numbers(member: signal.Signals) -> None:
    """A number is this kernel's signal of that number; if two names share it, the CRI's first."""
    read = pb.Signal.Name(cri_signal(str(int(member)))).removeprefix("SIGNAL_")
    base = read.replace("PLUS", "+").replace("MINUS", "-")
    assert getattr(signal, base) == member


@pytest.mark.parametrize("text", ["0", "32", "65", "999", "9" * 5000, "SIGNAL", "-1", "RTMIN+16", "SIGRTMIN+"])
def test_unknown(text: str) -> None:
    """A signal that Docker does not know is the default."""
    assert cri_signal(text) == pb.SIGNAL_SIGTERM


@settings(max_examples=50)
@given(st.text(max_size=12))
def test_any_text(text: str) -> None:
    """Every stop signal of an engine gives a signal of the CRI."""
    assert cri_signal(text) in SIGNALS
