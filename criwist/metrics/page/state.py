"""The state of the node that the page shows, as values: collected on the reactor, read in a thread."""

from __future__ import annotations

from attrs import frozen

from criwist import __version__
from criwist.core.assembly import Core
from criwist.core.images.pulls import PullState
from criwist.core.state.cache import Snapshot
from criwist.core.state.not_ready import NotReady
from criwist.interfaces.engine import EngineFacts
from criwist.metrics.page.recent import RecentEvent, RecentWarning


@frozen
class Condition:
    """A condition of the CRI's Status."""

    name: str
    true: bool
    reason: str
    message: str


@frozen
class NodeState:
    """The node at one moment.  Times are seconds since the epoch."""

    at: float
    host: str
    version: str
    #: When criwist started.
    started: float
    #: None until Docker has answered.
    engine: EngineFacts | None
    conditions: tuple[Condition, ...]
    snapshot: Snapshot
    pulls: tuple[PullState, ...]
    events: tuple[RecentEvent, ...]
    warnings: tuple[RecentWarning, ...]


def collect(
    core: Core,
    *,
    host: str,
    started: float,
    at: float,
    events: tuple[RecentEvent, ...],
    warnings: tuple[RecentWarning, ...],
) -> NodeState:
    """Return the state.  On the reactor's thread; it copies references and waits for nothing."""
    return NodeState(
        at=at,
        host=host,
        version=__version__,
        started=started,
        engine=core.engine.known_facts,
        conditions=_conditions(core),
        snapshot=core.cache.snapshot,
        pulls=tuple(core.images.pulls()),
        events=events,
        warnings=warnings,
    )


def _conditions(core: Core) -> tuple[Condition, ...]:
    try:
        conditions = core.node_status.status().status.conditions
    except NotReady as error:
        return (Condition("Status", False, "Starting", str(error)),)
    return tuple(Condition(one.type, one.status, one.reason, one.message) for one in conditions)
