"""The error of a read from memory that has no answer yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from criwist.errors import Unavailable


class NotReady(Unavailable):
    """The state is not known yet: await ``until()``, on the reactor, and read again.

    A caller that gets it again after that (the engine has disconnected once more) reports it as an Unavailable.

    :param what: the state, for the text.
    :param until: returns when the state is known.
    :param within: seconds to wait at most.
    """

    def __init__(self, what: str, until: Callable[[], Coroutine[Any, Any, None]], within: float) -> None:
        super().__init__(f"{what}: not known yet, try again later")
        self.until = until
        self.within = within
