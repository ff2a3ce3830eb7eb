"""What is said where an answer from memory is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from criwist.errors import Unavailable


class NotReady(Unavailable):
    """What was asked for is not known yet: wait until ``until()`` returns, on the reactor, and ask again.

    Who has waited and hears it once more (the engine went away again) may take it for what it is, an Unavailable.

    :param what: for the text.
    :param within: seconds after which waiting makes no sense any more.
    """

    def __init__(self, what: str, until: Callable[[], Coroutine[Any, Any, None]], within: float) -> None:
        super().__init__(f"{what}: not known yet, trying again later makes sense")
        self.until = until
        self.within = within
