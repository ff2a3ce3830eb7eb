"""The metrics that are read when they are asked for: states of the node at the moment of a scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import frozen
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from criwist import __version__
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.assembly import Core
from criwist.core.images.pulls import PullState
from criwist.core.stats.pod_metrics import PodSeries
from criwist.interfaces.logs import FollowedLogs, IContainerLogs
from criwist.metrics.container_metrics import container_metrics
from criwist.streaming.server import StreamingServer


@frozen
class Readings:
    """The state of a node at one moment.  It may be read in any thread."""

    connected: bool
    engine: str
    sandboxes: Mapping[str, int]
    containers: Mapping[str, int]
    pulls: Sequence[PullState]
    logs: FollowedLogs
    #: Open sessions by kind.
    streams: Mapping[str, int]
    #: Reads the kernel's figures of pods and containers.
    pods: Callable[[], Iterable[PodSeries]]


def read(core: Core, logs: IContainerLogs, streaming: StreamingServer) -> Readings:
    """Read the state.  On the reactor's thread; it takes a millisecond for some hundred containers."""
    core.oom_kills.read()  # what was killed since the last scrape
    snapshot = core.cache.snapshot
    facts = core.engine.known_facts
    containers = Counter(pb.ContainerState.Name(one.state) for one in snapshot.containers.values())
    return Readings(
        connected=snapshot.fresh,
        engine=facts.version if facts else "",
        sandboxes=Counter("ready" if one.ready else "notready" for one in snapshot.sandboxes.values()),
        containers={
            name.removeprefix("CONTAINER_").lower(): containers[name]
            for name in pb.ContainerState.keys()  # noqa: SIM118 - an enum of protobuf, not a dict
        },
        pulls=core.images.pulls(),
        logs=logs.followed(),
        streams=streaming.open_sessions(),
        pods=core.pod_metrics.series,
    )


@frozen
class Scrape:
    """What one scrape gets: the counted metrics and the read ones.  prometheus_client's encoders take it."""

    _registry: CollectorRegistry
    _readings: Readings

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._registry.collect()
        readings = self._readings
        yield _labelled(
            "build_info",
            "1, with the versions of criwist and of the engine.",
            ("version", "engine"),
            {(__version__, readings.engine): 1},
        )
        yield _gauge(
            "docker_connected", "1 while criwist follows the engine's events, else 0.", int(readings.connected)
        )
        yield _labelled(
            "sandboxes",
            "Sandboxes by state.",
            ("state",),
            {(state,): readings.sandboxes.get(state, 0) for state in ("ready", "notready")},
        )
        yield _labelled("containers", "Containers by state.", ("state",), _by_one(readings.containers))
        yield from self._pulls()
        yield _labelled(
            "log_followers",
            "Logs of containers that are written, by source: Docker's file, the engine's API, others.",
            ("source",),
            {("file",): readings.logs.files, ("api",): readings.logs.requested, ("other",): readings.logs.others},
        )
        yield _gauge("log_lag_bytes", "Bytes of Docker's log files that are not written yet.", readings.logs.unread)
        yield _gauge("log_lag_most_bytes", "The same, of the log that has most.", readings.logs.most_unread)
        yield _labelled("streams", "Open streaming sessions by kind.", ("kind",), _by_one(readings.streams))
        yield from container_metrics(readings.pods())

    def _pulls(self) -> Iterator[Metric]:
        pulls = self._readings.pulls
        yield _gauge("image_pulls_in_progress", "Pulls under way.", len(pulls))
        downloaded: Counter[tuple[str, ...]] = Counter()
        announced: Counter[tuple[str, ...]] = Counter()
        for pull in pulls:  # two of one image, with different credentials, are one series
            downloaded[pull.reference.familiar,] += pull.downloaded
            announced[pull.reference.familiar,] += pull.announced
        yield _labelled("image_pull_downloaded_bytes", "Bytes of a pull under way so far.", ("image",), downloaded)
        yield _labelled(
            "image_pull_announced_bytes",
            "Bytes of the layers of a pull under way whose download has begun.",
            ("image",),
            announced,
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"criwist_{name}", text, value=value)


def _labelled(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(f"criwist_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _by_one(values: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}
