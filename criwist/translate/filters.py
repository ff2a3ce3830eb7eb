"""Filters of List RPCs as predicates.

A filter's parts are joined by "and"; a part that is not set passes everything (CRI, PodSandboxFilter and
ContainerFilter).  Ids may be shortened to their first digits.  Stats filters lack ``state``; their other parts work in
the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from criwist.api.runtime.v1 import api_pb2 as pb


class FilteredSandbox(Protocol):
    """The properties that a sandbox filter reads."""

    @property
    def id(self) -> str: ...
    @property
    def ready(self) -> bool: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


class FilteredContainer(Protocol):
    """The properties that a container filter reads; ``state`` is a runtime.v1.ContainerState."""

    @property
    def id(self) -> str: ...
    @property
    def sandbox_id(self) -> str: ...
    @property
    def state(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


def sandbox_filter(wanted: pb.PodSandboxFilter | pb.PodSandboxStatsFilter) -> Callable[[FilteredSandbox], bool]:
    """Return a predicate: whether a sandbox passes *wanted*."""
    identifier = wanted.id
    selector = dict(wanted.label_selector)
    ready: bool | None = None
    if isinstance(wanted, pb.PodSandboxFilter) and wanted.HasField("state"):
        ready = wanted.state.state == pb.SANDBOX_READY

    def passes(sandbox: FilteredSandbox) -> bool:
        return (
            sandbox.id.startswith(identifier)
            and (ready is None or sandbox.ready is ready)
            and _selected(sandbox.labels, selector)
        )

    return passes


def container_filter(wanted: pb.ContainerFilter | pb.ContainerStatsFilter) -> Callable[[FilteredContainer], bool]:
    """Return a predicate: whether a container passes *wanted*."""
    identifier, sandbox_id = wanted.id, wanted.pod_sandbox_id
    selector = dict(wanted.label_selector)
    state: int | None = None
    if isinstance(wanted, pb.ContainerFilter) and wanted.HasField("state"):
        state = wanted.state.state

    def passes(container: FilteredContainer) -> bool:
        return (
            container.id.startswith(identifier)
            and container.sandbox_id.startswith(sandbox_id)
            and (state is None or container.state == state)
            and _selected(container.labels, selector)
        )

    return passes


def _selected(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())
