"""Waiting for things that happen outside the test process, with one factor for slow machines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

#: All time limits of functional tests are multiplied by this; emulated machines set it to 10 or so.
TIME_FACTOR = float(os.environ.get("CRIWIST_TEST_TIME_FACTOR", "1"))


def scaled(seconds: float) -> float:
    """A time limit that is fair on this machine."""
    return seconds * TIME_FACTOR


def eventually(look: Callable[[], _T], *, within: float = 10.0, what: str = "") -> _T:
    """Call *look* until it returns something true, and return that.

    An AssertionError counts as "not yet".  When the time is up the last one is raised again, or one that says
    *what* was waited for and what was seen last.
    """
    deadline = time.monotonic() + scaled(within)
    pause = 0.01
    while True:
        failure: AssertionError | None = None
        seen: object = None
        try:
            answer = look()
        except AssertionError as error:
            failure = error
        else:
            if answer:
                return answer
            seen = answer
        if time.monotonic() > deadline:
            if failure is not None:
                raise failure
            raise AssertionError(f"not within {scaled(within):g} s: {what or look}; seen last: {seen!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)
