"""ListMetricDescriptors and ListPodSandboxMetrics, and the same series for Prometheus.

The figures are those of the stats (:class:`.Stats`), read for each call, and more that the kernel has.  The series of a
pod are those of its network, and of its own cgroup if it has one; the series of its containers are beside them.  What
the snapshot shows as running may have ended: it is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from attrs import define, field, frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.images.filesystem import layers_directory
from criwist.core.state.cache import Cache, Snapshot
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.stats.writable_layers import WritableLayers
from criwist.interfaces.kernel import IUsage
from criwist.interfaces.kernel_metrics import FilesystemMetrics, IContainerMetrics
from criwist.translate import pod_metrics as translate
from criwist.translate.pod_metrics import Descriptor, Value
from criwist.translate.stats import exclusive_parents
from criwist.wire.protobuf import repeated_field, text_field

_POD_METRICS = pb.ListPodSandboxMetricsResponse.POD_METRICS_FIELD_NUMBER


@frozen
class Series:
    """The values of one pod or container."""

    id: str
    #: The values of ``translate.pod_metrics.LABELS``.
    labels: tuple[str, ...]
    values: Sequence[Value]


@frozen
class PodSeries:
    """The values of one pod, and of its containers that run."""

    id: str
    #: Of its network, with the name and the image of the pause container, and of its own cgroup, without these.
    pod: Sequence[Series]
    containers: Sequence[Series]


@define(eq=False)
class PodMetrics:
    """Its methods may be called in any thread.

    :param local: whether the engine runs on this machine; otherwise there are no metrics.
    :param layers_measured: whether writable layers are measured.
    """

    _cache: Cache
    _engine: EngineProfile
    _usage: IUsage
    _kernel: IContainerMetrics
    _layers: WritableLayers
    _local: bool
    _layers_measured: bool
    #: Those of the metrics that this machine can have.
    descriptors: Sequence[Descriptor] = field(init=False)

    def __attrs_post_init__(self) -> None:
        features = set(self._kernel.offered() if self._local else ())
        if self._layers_measured:
            features.add(translate.WRITABLE_LAYERS)
        self.descriptors = translate.offered_descriptors(features) if self._local else ()

    def list_descriptors(self) -> pb.ListMetricDescriptorsResponse:
        """Return the descriptors, whatever state the engine is in: a kubelet asks once."""
        return pb.ListMetricDescriptorsResponse(descriptors=map(translate.descriptor_message, self.descriptors))

    def pods(self) -> bytes:
        """Return a ListPodSandboxMetricsResponse of the pods whose pause container runs, newest first.

        :raises NotReady: the snapshot is not fresh.
        """
        return repeated_field(_POD_METRICS, map(_pod_message, self._read(self._cache.current())))

    def series(self) -> Iterator[PodSeries]:
        """Yield the same values.  While the engine is away, those of what ran before and still runs."""
        return self._read(self._cache.snapshot)

    def _read(self, snapshot: Snapshot) -> Iterator[PodSeries]:
        facts = self._engine.known_facts
        if not self._local or facts is None:
            return
        filesystem = self._kernel.filesystem(layers_directory(facts))
        exclusive = exclusive_parents(entry.cgroup_parent for entry in snapshot.sandboxes.values() if entry.running)
        for entry in snapshot.newest_sandboxes:
            if entry.running:
                found = self._pod(entry, snapshot.containers_of(entry.id), exclusive, filesystem)
                if found is not None:
                    yield found

    def _pod(
        self,
        entry: SandboxEntry,
        containers: Sequence[ContainerEntry],
        exclusive: Collection[str],
        filesystem: FilesystemMetrics | None,
    ) -> PodSeries | None:
        """Return the series of a pod; None if nothing of it runs any more."""
        found = [self._container(container, filesystem) for container in containers if container.running]
        own = [self._network(entry), self._own_cgroup(entry) if entry.cgroup_parent in exclusive else None]
        series = PodSeries(entry.id, *([one for one in some if one is not None] for some in (own, found)))
        return series if series.pod or series.containers else None

    def _network(self, entry: SandboxEntry) -> Series | None:
        network = None if entry.host_network else self._usage.network(entry.pid, entry.id)
        if network is None:
            return None
        labels = (entry.id, str(entry.name), entry.image, "", entry.name.pod, entry.name.namespace)
        return Series(entry.id, labels, list(translate.network_values(network)))

    def _own_cgroup(self, entry: SandboxEntry) -> Series | None:
        usage = self._usage.parent(entry.pid, entry.id, entry.cgroup_parent)
        metrics = self._kernel.parent(entry.pid, entry.id, entry.cgroup_parent)
        if usage is None or metrics is None:
            return None
        labels = (entry.id, "", "", "", entry.name.pod, entry.name.namespace)
        return Series(entry.id, labels, [*translate.usage_values(usage), *translate.cgroup_values(metrics)])

    def _container(self, entry: ContainerEntry, filesystem: FilesystemMetrics | None) -> Series | None:
        """Return the series of a container; None if it has ended."""
        started_at, cpu_shares = translate.status_facts(entry.status)
        metrics = self._kernel.container(entry.pid, entry.id, cpu_shares)
        processes = self._kernel.processes(entry.pid, entry.id)
        usage = self._usage.container(entry.pid, entry.id)
        if usage is None or metrics is None or processes is None:
            return None
        name = entry.name
        labels = (entry.id, str(name), entry.image, name.container, name.pod, name.namespace)
        values = [
            translate.start_value(started_at),
            *translate.usage_values(usage),
            *translate.cgroup_values(metrics),
            *translate.process_values(processes),
            *translate.layer_values(self._layers.of(entry.id), filesystem),
        ]
        return Series(entry.id, labels, values)


def _pod_message(found: PodSeries) -> bytes:
    return b"".join(
        (
            text_field(pb.PodSandboxMetrics.POD_SANDBOX_ID_FIELD_NUMBER, found.id),
            *(_metrics(pb.PodSandboxMetrics.METRICS_FIELD_NUMBER, series) for series in found.pod),
            repeated_field(
                pb.PodSandboxMetrics.CONTAINER_METRICS_FIELD_NUMBER, map(_container_message, found.containers)
            ),
        )
    )


def _container_message(series: Series) -> bytes:
    identifier = text_field(pb.ContainerMetrics.CONTAINER_ID_FIELD_NUMBER, series.id)
    return identifier + _metrics(pb.ContainerMetrics.METRICS_FIELD_NUMBER, series)


def _metrics(number: int, series: Series) -> bytes:
    """Return the repeated field *number* with the metrics of one object."""
    labels = translate.label_fields(series.labels)
    messages = (translate.metric_message(labels, value) for value in series.values)
    return repeated_field(number, filter(None, messages))
