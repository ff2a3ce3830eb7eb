"""What is said where an answer from memory is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define


@define(eq=False)
class NotYet(Exception):
    """What was asked for is not known yet: wait until ``until()`` returns, on the reactor, and ask again."""

    until: Callable[[], Coroutine[Any, Any, None]]
    #: Seconds after which waiting makes no sense any more.
    within: float
