"""Watching over an open session: pings so that nothing between us and the client forgets it, and the idle limit.

A ping is no sign of use.  Nor is a missing answer a sign of death: some clients read only when their user asks them
to.  A peer that is truly gone is found by TCP's keep-alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between pings.  Load balancers and NAT forget a silent connection after one minute at the earliest.
PING_INTERVAL: Final = 30.0


@define(eq=False)
class Keepalive:
    """Over one session, from its making until :meth:`stop`.

    :param idle_limit: seconds without data in either direction after which *expired* is called; 0: no limit.
    """

    _clock: IReactorTime
    _idle_limit: float
    _ping: Callable[[], None]
    _expired: Callable[[], None]
    _used: float = field(init=False)
    _pinging: IDelayedCall = field(init=False)
    _idling: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.touch()
        self._pinging = self._clock.callLater(PING_INTERVAL, self._next_ping)
        if self._idle_limit:
            self._idling = self._clock.callLater(self._idle_limit, self._look)

    def touch(self) -> None:
        """The session is in use."""
        self._used = self._clock.seconds()

    def stop(self) -> None:
        """The session is over.  Idempotent."""
        for call in (self._pinging, self._idling):
            if call is not None and call.active():
                call.cancel()

    def _next_ping(self) -> None:
        self._pinging = self._clock.callLater(PING_INTERVAL, self._next_ping)
        self._ping()

    def _look(self) -> None:
        left = self._used + self._idle_limit - self._clock.seconds()
        if left > 0:
            self._idling = self._clock.callLater(left, self._look)
        else:
            self._expired()
