"""The progress deadline of a pull: a model of the engine's progress messages and the time.

Progress is any change of status or bytes in any layer.  A message that repeats an earlier one is no progress, so a
registry that keeps a connection open and sends nothing is detected, however often the engine repeats itself.  The
clock stops while a layer is verified or extracted: that is the node's own work, on which the engine may report little.
The clock starts with the request: a registry that never answers makes no progress either.

Engines 20.10 to 28 report bytes while extracting, later ones seconds.  Both change, and count alike.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from criwist.interfaces.engine import JSONObject

#: Beginnings of the statuses of a layer on which the node works: ``Verifying Checksum``, ``Extracting``.
_LOCAL_WORK = ("Verifying", "Extracting")
#: Statuses of a layer that is being fetched, and that was fetched; the latter has no bytes.
_DOWNLOADING, _DOWNLOADED = "Downloading", "Download complete"
#: Final statuses of a layer.
_DONE = ("Pull complete", "Already exists")


@frozen
class LayerState:
    """The engine's last message about a layer, or about the pull as a whole, whose ``layer`` is ``""``."""

    layer: str
    status: str
    current: int | None = None
    total: int | None = None

    @property
    def local_work(self) -> bool:
        """Whether the node verifies or extracts the layer."""
        return self.status.startswith(_LOCAL_WORK)

    @property
    def done(self) -> bool:
        """Whether the layer is complete."""
        return self.status in _DONE

    def __str__(self) -> str:
        amount = ""
        if self.current is not None:
            amount = f" {self.current} of {self.total} bytes" if self.total else f" {self.current} bytes"
        return f"{f'layer {self.layer}: ' if self.layer else ''}{self.status}{amount}"


@define(eq=False)
class PullProgress:
    """The progress of one pull.

    :param deadline: seconds without progress after which the pull has stalled; 0: never.
    :param last_change: the time of the request, in seconds on the clock of all later times.
    """

    deadline: float
    _last_change: float
    #: Layers in the order in which they last changed.
    _layers: dict[str, LayerState] = field(factory=dict, init=False)
    #: Bytes of each layer that were downloaded, and that the registry announced; 0: unknown.
    _bytes: dict[str, tuple[int, int]] = field(factory=dict, init=False)

    @property
    def downloaded(self) -> int:
        """Bytes that were downloaded so far.  Layers that the node had are not among them."""
        return sum(downloaded for downloaded, _ in self._bytes.values())

    @property
    def announced(self) -> int:
        """Bytes of the layers whose download has begun: it grows while layers wait for their turn."""
        return sum(max(downloaded, announced) for downloaded, announced in self._bytes.values())

    def update(self, message: JSONObject, now: float) -> None:
        """Record a progress message of the engine."""
        state = _state(message)
        if state is None or self._layers.get(state.layer) == state:
            return
        self._layers.pop(state.layer, None)
        self._layers[state.layer] = state
        self._last_change = now
        if state.status == _DOWNLOADING and state.current is not None:
            self._bytes[state.layer] = (max(0, state.current), max(0, state.total or 0))
        elif state.status == _DOWNLOADED and state.layer in self._bytes:
            whole = max(self._bytes[state.layer])
            self._bytes[state.layer] = (whole, whole)

    def remaining(self, now: float) -> float | None:
        """Return the seconds until the pull has stalled, 0 or less if it has; None while the clock stops."""
        if self.deadline <= 0 or any(state.local_work for state in self._layers.values()):
            return None
        return self._last_change + self.deadline - now

    def describe(self) -> str:
        """Return the last progress in words, of a layer that is not complete if there is one."""
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
