"""The event feed of the memory engine, and its clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from tests.doubles.engine_server import Exchange

#: The time at which the test's clock shows 0: 14 November 2023.
EPOCH = 1_700_000_000
#: Events that an engine remembers for ``since``.
REMEMBERED = 256
NEVER = "0001-01-01T00:00:00Z"


@define(eq=False)
class Times:
    """The engine's clock: the test's, plus a nanosecond at each reading, so that no two times are equal."""

    _clock: IReactorTime
    _ticks: count[int] = field(factory=count, init=False)

    def nanoseconds(self) -> int:
        """Return the nanoseconds since the epoch."""
        return EPOCH * 10**9 + round(self._clock.seconds() * 10**9) + next(self._ticks)

    def text(self) -> str:
        """Return the time in RFC 3339 with nanoseconds, in UTC."""
        return time_text(self.nanoseconds())


def time_text(nanoseconds: int) -> str:
    """Return a time in RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


@define(eq=False)
class Events:
    """The events that the engine remembers, and the feed's subscribers."""

    _times: Times
    _remembered: list[dict[str, Any]] = field(factory=list, init=False)
    _subscribers: list[Exchange] = field(factory=list, init=False)

    @property
    def subscribers(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    def publish(self, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
        """Send an event to all subscribers."""
        now = self._times.nanoseconds()
        event = {
            "status": action,
            "id": identifier,
            **({"from": attributes["image"]} if "image" in attributes else {}),
            "Type": kind,
            "Action": action,
            "Actor": {"ID": identifier, "Attributes": dict(attributes)},
            "scope": "local",
            "time": now // 10**9,
            "timeNano": now,
        }
        self._remembered = [*self._remembered[1 - REMEMBERED :], event]
        for exchange in list(self._subscribers):
            exchange.write(event)

    def subscribe(self, exchange: Exchange) -> None:
        """Serve ``GET /events``: remembered events since the given time, then all that follow."""
        seconds, _, rest = exchange.query.get("since", "").partition(".")
        exchange.begin()
        if seconds:
            since = int(seconds) * 10**9 + int((rest or "0").ljust(9, "0")[:9])
            for event in self._remembered:
                if event["timeNano"] >= since:
                    exchange.write(event)
        self._subscribers.append(exchange)
        exchange.on_abandoned.append(lambda: self._subscribers.remove(exchange))

    def forget(self) -> None:
        """Forget all events, as a restarted engine does."""
        self._remembered = []
