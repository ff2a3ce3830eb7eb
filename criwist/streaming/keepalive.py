"""The timers of an open session: pings, so that no proxy or NAT in between drops the connection, and the idle limit.

A ping does not count as use.  A missing pong does not count as death either: some clients read only when their user
asks them to.  TCP's keep-alive finds a peer that is truly gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between pings.  Load balancers and NAT drop a silent connection after one minute at the earliest.
PING_INTERVAL: Final = 30.0


@define(eq=False)
class Keepalive:
    """The timers of one session.  They run from the construction until :meth:`stop`.

    :param idle_limit: seconds without data in either direction after which *expired* is called; 0: no limit.
    """

    _clock: IReactorTime
    _idle_limit: float
    _ping: Callable[[], None]
    _expired: Callable[[], None]
    _last_use: float = field(init=False)
    _ping_timer: IDelayedCall = field(init=False)
    _idle_timer: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.touch()
        self._ping_timer = self._clock.callLater(PING_INTERVAL, self._send_ping)
        if self._idle_limit:
            self._idle_timer = self._clock.callLater(self._idle_limit, self._check_idle)

    def touch(self) -> None:
        """Restart the idle limit: the session carries data."""
        self._last_use = self._clock.seconds()

    def stop(self) -> None:
        """Stop the timers.  Idempotent."""
        for timer in (self._ping_timer, self._idle_timer):
            if timer is not None and timer.active():
                timer.cancel()

    def _send_ping(self) -> None:
        self._ping_timer = self._clock.callLater(PING_INTERVAL, self._send_ping)
        self._ping()

    def _check_idle(self) -> None:
        left = self._last_use + self._idle_limit - self._clock.seconds()
        if left > 0:
            self._idle_timer = self._clock.callLater(left, self._check_idle)
        else:
            self._expired()
