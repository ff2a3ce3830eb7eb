"""Whether a pull gets on: a model fed with the engine's progress messages and the time.

Progress is any change of status or bytes in any layer.  A message that says nothing new is none, so a registry that
keeps a connection open and sends nothing is found out however much the engine repeats itself.  While a layer is
verified or extracted the clock rests: that is the node's own work, of which the engine may tell little.  The time
counts from the request on: a registry that never answers makes no progress either.

Engines 20.10 to 28 tell bytes while extracting, later ones seconds; the latter change and count alike.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from criwist.interfaces.engine import JSONObject

#: Statuses of a layer on which the node works, by their beginning: ``Verifying Checksum``, ``Extracting``.
_AT_WORK = ("Verifying", "Extracting")
#: Statuses after which nothing more is to come for a layer.
_DONE = ("Pull complete", "Already exists")


@frozen
class LayerState:
    """What the engine last said of a layer.  ``layer`` is ``""`` for what it says of the pull as a whole."""

    layer: str
    status: str
    current: int | None = None
    total: int | None = None

    @property
    def at_work(self) -> bool:
        """The node works on it."""
        return self.status.startswith(_AT_WORK)

    @property
    def done(self) -> bool:
        """Nothing more is to come for it."""
        return self.status in _DONE

    def __str__(self) -> str:
        amount = ""
        if self.current is not None:
            amount = f" {self.current} of {self.total} bytes" if self.total else f" {self.current} bytes"
        return f"{f'layer {self.layer}: ' if self.layer else ''}{self.status}{amount}"


@define(eq=False)
class PullProgress:
    """The state of one pull.

    :param deadline: seconds without progress after which the pull is to be given up; 0: never.
    :param now: the time of the request, on the clock that all later times are of.
    """

    deadline: float
    _last_change: float
    #: Layers in the order in which they last changed.
    _layers: dict[str, LayerState] = field(factory=dict, init=False)

    def message(self, message: JSONObject, now: float) -> None:
        """Take in a progress message of the engine."""
        state = _state(message)
        if state is None or self._layers.get(state.layer) == state:
            return
        self._layers.pop(state.layer, None)
        self._layers[state.layer] = state
        self._last_change = now

    def remaining(self, now: float) -> float | None:
        """Seconds until the pull is to be given up if nothing changes; 0 or less: now.  None: not while this lasts."""
        if self.deadline <= 0 or any(state.at_work for state in self._layers.values()):
            return None
        return self._last_change + self.deadline - now

    def last(self) -> str:
        """The last progress, in words that name the layer that waits, if one does."""
        if not self._layers:
            return "the registry has not answered"
        latest = list(reversed(self._layers.values()))
        waiting = [state for state in latest if state.layer and not state.done and state.current is not None]
        waiting += [state for state in latest if state.layer and not state.done]
        return str((waiting or latest)[0])


def _state(message: JSONObject) -> LayerState | None:
    status = message.get("status")
    if not isinstance(status, str):
        return None
    detail = message.get("progressDetail")
    detail = detail if isinstance(detail, dict) else {}
    layer = message.get("id")
    return LayerState(
        layer=layer if isinstance(layer, str) and not status.startswith("Pulling from") else "",
        status=status,
        current=_number(detail.get("current")),
        total=_number(detail.get("total")),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
