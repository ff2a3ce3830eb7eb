"""The series of pods and containers for Prometheus, under cAdvisor's names.

They are those of ListPodSandboxMetrics, with fractions of seconds.  Reading them takes some tens of short files of the
kernel for each container, so it happens in the thread that makes the text of a scrape, not on the reactor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.stats.pod_metrics import PodSeries
from criwist.translate.pod_metrics import LABELS, Descriptor

#: OpenMetrics' ending of a counter's name.
_TOTAL = "_total"


def container_metrics(pods: Iterable[PodSeries]) -> Iterator[Metric]:
    """Yield a metric with its samples for each descriptor that has a value."""
    found: dict[Descriptor, Metric] = {}
    for pod in pods:
        for series in (*pod.pod, *pod.containers):
            for descriptor, value, labels, _ in series.values:
                metric = found.get(descriptor)
                if metric is None:
                    metric = found[descriptor] = _metric(descriptor)
                names = dict(zip((*LABELS, *descriptor.labels), (*series.labels, *labels), strict=True))
                metric.add_sample(descriptor.name, names, value / descriptor.divisor)
    yield from found.values()


def _metric(descriptor: Descriptor) -> Metric:
    """Return a metric without samples; a counter by another name than OpenMetrics demands has no type there."""
    if descriptor.type == pb.GAUGE:
        return Metric(descriptor.name, descriptor.help, "gauge")
    if not descriptor.name.endswith(_TOTAL):
        return Metric(descriptor.name, descriptor.help, "unknown")
    return Metric(descriptor.name.removesuffix(_TOTAL), descriptor.help, "counter")
