"""The ends of execs, as the engine's events tell them.

The event ``exec_die`` has the container's id from the engine.  The exec's id and exit code are attributes, and the
labels of a container, which its image may bring, override attributes of the same name.  So an event says no more than
that an exec of the container may have ended: its state is to be read.  If the event names an exec that is watched, only
that one's; otherwise those of all execs of the container.
"""

from __future__ import annotations

from attrs import define, field, frozen
from twisted.internet.defer import Deferred


@define(eq=False)
class ExecEnd:
    """One watched exec."""

    exec_id: str
    _container_id: str
    _ends: ExecEnds
    _waiter: Deferred[bool] | None = field(default=None, init=False)
    #: What was told while nobody waited.
    _untold: bool | None = field(default=None, init=False)

    def told(self) -> Deferred[bool]:
        """Return a Deferred that fires when the exec may have ended: at once if that was told since the last call.

        It fires with whether the event named this exec; without that the exec may as well run on.
        """
        waiter: Deferred[bool] = Deferred()
        if self._untold is None:
            self._waiter = waiter
        else:
            named, self._untold = self._untold, None
            waiter.callback(named)
        return waiter

    def tell(self, *, named: bool) -> None:
        """Let :meth:`told` fire with *named*."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.called:
            self._untold = named or bool(self._untold)
        else:
            waiter.callback(named)

    def close(self) -> None:
        """Watch no longer.  Idempotent."""
        self._ends.forget(self._container_id, self.exec_id)


@frozen
class ExecEnds:
    """The watched execs of all containers."""

    _by_container: dict[str, dict[str, ExecEnd]] = field(factory=dict, init=False)

    def watch(self, exec_id: str, container_id: str) -> ExecEnd:
        """Watch an exec from now on; call it before the exec is started, and close what it returns in the end."""
        end = ExecEnd(exec_id, container_id, self)
        self._by_container.setdefault(container_id, {})[exec_id] = end
        return end

    def event(self, container_id: str, exec_id: str) -> None:
        """Tell of an event of this container that names *exec_id*."""
        watched = self._by_container.get(container_id, {})
        named = watched.get(exec_id)
        if named is not None:
            named.tell(named=True)
            return
        for end in list(watched.values()):
            end.tell(named=False)

    def missed(self) -> None:
        """Tell all: events may have been missed."""
        for watched in list(self._by_container.values()):
            for end in list(watched.values()):
                end.tell(named=False)

    def forget(self, container_id: str, exec_id: str) -> None:
        """See :meth:`ExecEnd.close`."""
        watched = self._by_container.get(container_id, {})
        watched.pop(exec_id, None)
        if not watched:
            self._by_container.pop(container_id, None)
