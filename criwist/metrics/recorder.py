"""The metrics that the parts count: a provider of ``IMetrics`` on prometheus_client.

All metrics belong to one registry of this object, not to the library's global one.  Labels are bounded: the CRI's and
the Engine API's methods, codes, the configuration's plugins.  A container's name is a label of one metric only, and is
removed with the container.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

import prometheus_client
from attrs import define, field
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from zope.interface import implementer

from criwist.core.state.cache import Cache, Entry
from criwist.core.state.entries import ContainerEntry
from criwist.interfaces.metrics import IMetrics
from criwist.names import ContainerName

#: Upper bounds in seconds.  Reads from memory take a millisecond, pulls and stops minutes.
CALL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)
PULL_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@implementer(IMetrics)
@define(eq=False)
class Recorder:
    """Counts.  The methods of ``IMetrics`` and the registry's ``collect`` run in any thread."""

    registry: CollectorRegistry = field(factory=CollectorRegistry, init=False)
    _cri_calls: Counter = field(init=False)
    _cri_seconds: Histogram = field(init=False)
    _docker_calls: Counter = field(init=False)
    _docker_seconds: Histogram = field(init=False)
    _cni_calls: Counter = field(init=False)
    _cni_seconds: Histogram = field(init=False)
    _pulls: Counter = field(init=False)
    _pull_seconds: Histogram = field(init=False)
    _pulled_bytes: Counter = field(init=False)
    _event_lag: Histogram = field(init=False)
    _disconnects: Counter = field(init=False)
    _oom_kills: Counter = field(init=False)
    _log_losses: Counter = field(init=False)
    _reactor_latency: Histogram = field(init=False)

    def __attrs_post_init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each label set
        registry = self.registry
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"criwist_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"criwist_{name}", text, labels, registry=registry, buckets=buckets)

        self._cri_calls = counter("cri_calls_total", "RPCs of the CRI, by gRPC's status.", "method", "code")
        self._cri_seconds = histogram("cri_call_seconds", "Duration of RPCs of the CRI.", CALL_BUCKETS, "method")
        self._docker_calls = counter(
            "docker_calls_total", "Requests to the engine; code is OK or the error.", "call", "code"
        )
        self._docker_seconds = histogram(
            "docker_call_seconds", "Duration of requests to the engine.", CALL_BUCKETS, "call"
        )
        self._cni_calls = counter(
            "cni_calls_total", "Calls of CNI plugins; code is OK or the error.", "plugin", "command", "code"
        )
        self._cni_seconds = histogram(
            "cni_call_seconds", "Duration of calls of CNI plugins.", CALL_BUCKETS, "plugin", "command"
        )
        self._pulls = counter("image_pulls_total", "Pulls that have ended; code is OK or the error.", "code")
        self._pull_seconds = histogram("image_pull_seconds", "Duration of pulls that have ended.", PULL_BUCKETS)
        self._pulled_bytes = counter("image_pull_bytes_total", "Bytes that pulls that have ended downloaded.")
        self._event_lag = histogram(
            "docker_event_lag_seconds", "Time from an event of the engine to its reading.", LAG_BUCKETS
        )
        self._disconnects = counter(
            "docker_disconnects_total", "Breaks of the event feed and failed attempts to connect."
        )
        self._oom_kills = counter(
            "container_oom_kills_total",
            "Times that the kernel killed a process of the container for want of memory.",
            "namespace",
            "pod",
            "container",
        )
        self._log_losses = counter("log_losses_total", "Incidents after which lines may be missing from a log.")
        self._reactor_latency = histogram(
            "reactor_latency_seconds", "Delay of a timer of the reactor that is due each second.", LAG_BUCKETS
        )

    # -- IMetrics

    def now(self) -> float:
        return time.monotonic()

    def cri_call(self, method: str, code: str, seconds: float, trace: str | None = None) -> None:
        self._cri_calls.labels(method, code).inc()
        # The name is that of Kubernetes' components, which datasources of Grafana link to traces.
        self._cri_seconds.labels(method).observe(seconds, {"trace_id": trace} if trace else None)

    def docker_call(self, call: str, code: str, seconds: float) -> None:
        self._docker_calls.labels(call, code).inc()
        self._docker_seconds.labels(call).observe(seconds)

    def cni_call(self, plugin: str, command: str, code: str, seconds: float) -> None:
        self._cni_calls.labels(plugin, command, code).inc()
        self._cni_seconds.labels(plugin, command).observe(seconds)

    def image_pull(self, code: str, seconds: float, downloaded: int) -> None:
        self._pulls.labels(code).inc()
        self._pull_seconds.observe(seconds)
        self._pulled_bytes.inc(downloaded)

    def event(self, lag: float) -> None:
        self._event_lag.observe(lag)

    def disconnected(self) -> None:
        self._disconnects.inc()

    def oom_kill(self, name: ContainerName) -> None:
        self._oom_kills.labels(*_labels(name)).inc()

    def log_loss(self) -> None:
        self._log_losses.inc()

    # -- Beside it

    @property
    def durations(self) -> dict[str, Histogram]:
        """The histograms of durations that people look at first, by whose they are."""
        return {"reactor": self._reactor_latency, "CRI": self._cri_seconds, "Docker": self._docker_seconds}

    def reactor_latency(self, seconds: float) -> None:
        """Count one delay of the reactor's timer."""
        self._reactor_latency.observe(seconds)

    def follow(self, cache: Cache) -> None:
        """Remove the series of a container when its last attempt is removed from *cache*."""

        def changed(old: Entry | None, new: Entry | None) -> None:
            if new is not None or not isinstance(old, ContainerEntry):
                return
            labels = _labels(old.name)
            if all(_labels(entry.name) != labels for entry in cache.snapshot.containers.values()):
                with suppress(KeyError):  # it was never killed
                    self._oom_kills.remove(*labels)

        cache.subscribe(changed)


def _labels(name: ContainerName) -> tuple[str, str, str]:
    return name.namespace, name.pod, name.container
