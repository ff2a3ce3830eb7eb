"""Metrics: where the parts of criwist count what they do.

A part calls an :class:`IMetrics`.  Without ``--metrics-bind-addr`` that is :class:`NoMetrics`, which does nothing.
Names of labels are bounded: methods and codes of the CRI, paths of the Engine API without ids, plugins of the
configuration.
"""

from __future__ import annotations

from zope.interface import Interface, implementer

from criwist.names import ContainerName

#: The code of a call that succeeded; the code of one that failed is the name of its error class.
OK = "OK"


def code_of(error: BaseException | None) -> str:
    """Return the code of a call that raised *error*: ``NotFound``."""
    return type(error).__name__


class IMetrics(Interface):
    """Counts.  Methods may be called from any thread, cost microseconds and do not fail.  Times are seconds."""

    def now() -> float:
        """Return a monotonic time, from which durations are computed."""

    def cri_call(method: str, code: str, seconds: float, trace: str | None = None) -> None:
        """Count an RPC: the method's name, and gRPC's name of the status (``NOT_FOUND``).

        :param trace: id of the trace that the client records, 32 hexadecimal digits.
        """

    def docker_call(call: str, code: str, seconds: float) -> None:
        """Count a request to the engine.

        :param call: method and path, with ``{id}`` for a name: ``GET /containers/{id}/json``.
        :param seconds: to the end of the response; of a stream, to its beginning.
        """

    def cni_call(plugin: str, command: str, code: str, seconds: float) -> None:
        """Count a call of a CNI plugin."""

    def image_pull(code: str, seconds: float, downloaded: int) -> None:
        """Count a pull that has ended, and the bytes that it downloaded."""

    def event(lag: float) -> None:
        """Count an event of the engine, which criwist read *lag* after the engine's time of it."""

    def disconnected() -> None:
        """Count a break of the event feed, or a failed attempt to connect."""

    def oom_kill(name: ContainerName) -> None:
        """Count a process of this container that the kernel killed for want of memory."""

    def log_loss() -> None:
        """Count an incident after which lines may be missing from a container's log."""


@implementer(IMetrics)
class NoMetrics:
    """Counts nothing."""

    def now(self) -> float:
        return 0.0

    def cri_call(self, method: str, code: str, seconds: float, trace: str | None = None) -> None:
        pass

    def docker_call(self, call: str, code: str, seconds: float) -> None:
        pass

    def cni_call(self, plugin: str, command: str, code: str, seconds: float) -> None:
        pass

    def image_pull(self, code: str, seconds: float, downloaded: int) -> None:
        pass

    def event(self, lag: float) -> None:
        pass

    def disconnected(self) -> None:
        pass

    def oom_kill(self, name: ContainerName) -> None:
        pass

    def log_loss(self) -> None:
        pass


NO_METRICS = NoMetrics()
