"""The events that a kubelet follows, and the lists that come in chunks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.api.runtime.v1 import api_pb2_grpc
from criwist.rpc.dispatch import SENDING_THREADS
from criwist.rpc.response_streams import STREAM_THREADS
from criwist.rpc.server import IMMEDIATE_THREADS, SNAPSHOT_THREADS
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

CREATED, STARTED = api.CONTAINER_CREATED_EVENT, api.CONTAINER_STARTED_EVENT
STOPPED, DELETED = api.CONTAINER_STOPPED_EVENT, api.CONTAINER_DELETED_EVENT


class Subscriber:
    """A client of GetContainerEvents that reads as fast as it can."""

    def __init__(self, cri: CRI) -> None:
        self.events: list[api.ContainerEventResponse] = []
        self.error: Queue[grpc.RpcError] = Queue()
        self._stream = cri.runtime.GetContainerEvents(api.GetEventsRequest())
        self._stream.initial_metadata()  # which comes once the subscription is in force
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self.events.append(event)
        except grpc.RpcError as error:
            self.error.put(error)

    def close(self) -> None:
        """End the subscription."""
        self._stream.cancel()

    def of(self, *identifiers: str) -> list[tuple[str, int]]:
        """Ids and types of the events about these sandboxes and containers, in order."""
        events = [(event.container_id, event.container_event_type) for event in list(self.events)]
        return [event for event in events if event[0] in identifiers]

    def wait_for(self, *expected: tuple[str, int], within: float = 10) -> None:
        """Wait until the events about the expected ones' sandboxes and containers are these, in this order."""
        identifiers = {identifier for identifier, _ in expected}

        def arrived() -> bool:
            names = [(identifier, api.ContainerEventType.Name(kind)) for identifier, kind in self.of(*identifiers)]
            assert names == [(identifier, api.ContainerEventType.Name(kind)) for identifier, kind in expected]
            return True

        eventually(arrived, within=within)

    def last(self, identifier: str, kind: int) -> api.ContainerEventResponse:
        """The last event of this type about a sandbox or container."""
        return next(
            event
            for event in reversed(self.events)
            if (event.container_id, event.container_event_type) == (identifier, kind)
        )


@pytest.fixture
def subscribe() -> Iterator[Callable[[CRI], Subscriber]]:
    """Makes subscribers, which are closed after the test."""
    made: list[Subscriber] = []

    def make(cri: CRI) -> Subscriber:
        made.append(Subscriber(cri))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


# -- the life of a pod


def test_life_of_a_pod(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """Each step of a sandbox and its container is one event, in order, and no step has two."""
    events = subscribe(cri)
    pod_id, container_id = cri.run_in_pod()
    cri.stop(container_id)
    cri.remove(container_id)
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)
    events.wait_for(
        (pod_id, CREATED),
        (pod_id, STARTED),
        (container_id, CREATED),
        (container_id, STARTED),
        (container_id, STOPPED),
        (container_id, DELETED),
        (pod_id, STOPPED),
        (pod_id, DELETED),
    )


def test_statuses_of_the_moment(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """An event has the pod's status and those of all its containers as they are after the step that it is about."""
    events = subscribe(cri)
    config = cri.pod()
    pod_id = cri.run_pod(config)
    first, second = (cri.run(pod_id, cri.container(), config) for _ in range(2))
    cri.stop(first)
    events.wait_for((first, CREATED), (first, STARTED), (first, STOPPED))
    started = events.last(pod_id, STARTED)
    assert started.pod_sandbox_status == cri.pod_status(pod_id)
    assert started.pod_sandbox_status.state == api.SANDBOX_READY
    assert started.pod_sandbox_status.network.ip
    assert list(started.containers_statuses) == []
    stopped = events.last(first, STOPPED)
    assert stopped.pod_sandbox_status.metadata == config.metadata
    assert list(stopped.containers_statuses) == [cri.status(second), cri.status(first)]
    assert stopped.containers_statuses[1].state == api.CONTAINER_EXITED
    cri.remove_pod(pod_id)
    events.wait_for((pod_id, CREATED), (pod_id, STARTED), (pod_id, STOPPED), (pod_id, DELETED))
    deleted = events.last(pod_id, DELETED)
    assert deleted.pod_sandbox_status.id == pod_id
    assert deleted.pod_sandbox_status.metadata == config.metadata
    assert deleted.pod_sandbox_status.state == api.SANDBOX_NOTREADY


def test_timestamps_do_not_fall(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """created_at of events and the timestamp of a status are nanoseconds that agree with each other."""
    events = subscribe(cri)
    before = time.time_ns()
    pod_id, container_id = cri.run_in_pod()
    response = cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id))
    cri.stop(container_id)
    events.wait_for((container_id, CREATED), (container_id, STARTED), (container_id, STOPPED))
    stamps = [event.created_at for event in events.events]
    assert stamps == sorted(stamps)
    assert before <= stamps[0]
    assert events.last(container_id, STARTED).created_at <= response.timestamp
    assert response.timestamp <= events.last(container_id, STOPPED).created_at <= time.time_ns()


def test_short_container(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """A container that ends as soon as it runs has all of its events, and STOPPED has its exit code."""
    events = subscribe(cri)
    _, container_id = cri.run_in_pod("sh", "-c", "exit 7")
    events.wait_for((container_id, CREATED), (container_id, STARTED), (container_id, STOPPED))
    [status] = events.last(container_id, STOPPED).containers_statuses
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 7)


def test_container_that_cannot_start(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """A container whose command does not exist is not STARTED."""
    events = subscribe(cri)
    config = cri.pod()
    pod_id = cri.run_pod(config)
    container_id = cri.create(pod_id, cri.container("/nonexistent"), config)
    with pytest.raises(grpc.RpcError):
        cri.start(container_id)
    events.wait_for((container_id, CREATED), (container_id, STOPPED))


def test_docker_rm_of_a_running_container(cri: CRI, engine: Engine, subscribe: Callable[[CRI], Subscriber]) -> None:
    """A container that ``docker rm -f`` removed is STOPPED and DELETED."""
    events = subscribe(cri)
    _, container_id = cri.run_in_pod()
    engine.delete(f"/containers/{container_id}", force="1")
    events.wait_for((container_id, CREATED), (container_id, STARTED), (container_id, STOPPED), (container_id, DELETED))
    assert list(events.last(container_id, DELETED).containers_statuses) == []


def test_earlier_sandbox_of_a_pod(cri: CRI, subscribe: Callable[[CRI], Subscriber]) -> None:
    """The DELETED event of a pod's earlier sandbox describes the newer one: a kubelet must not forget the pod."""
    events = subscribe(cri)
    config = cri.pod()
    earlier = cri.run_pod(config)
    cri.stop_pod(earlier)
    config.metadata.attempt = 1
    newer = cri.run_pod(config)
    cri.remove_pod(earlier)
    events.wait_for((earlier, CREATED), (earlier, STARTED), (earlier, STOPPED), (earlier, DELETED))
    assert events.last(earlier, STOPPED).pod_sandbox_status.id == earlier
    assert events.last(earlier, DELETED).pod_sandbox_status == cri.pod_status(newer)


@pytest.mark.newer_engines("docker-28")
def test_status_has_all_containers(cri: CRI) -> None:
    """PodSandboxStatus has the statuses of all containers and of no other pod's, and the time at which it was so."""
    config = cri.pod()
    pod_id = cri.run_pod(config)
    first, second = cri.run(pod_id, cri.container(), config), cri.create(pod_id, cri.container(), config)
    cri.run_in_pod()
    before = time.time_ns()
    response = cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id, verbose=True))
    assert list(response.containers_statuses) == [cri.status(second), cri.status(first)]
    assert before <= response.timestamp <= time.time_ns()
    assert response.status.id == pod_id
    assert response.info


# -- the feed breaks


@pytest.fixture
def own_engine(engine_factory: Callable[..., Engine]) -> Iterator[Engine]:
    """An engine of the test's own that leaves its containers running when it ends."""
    engine = engine_factory(live_restore=True)
    engine.start()
    images.load_all(engine)
    yield engine
    engine.destroy()


def _lists(cri: CRI) -> bool:
    """Whether criwist is connected to the engine and has read all its containers."""
    try:
        cri.container_ids()
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def test_events_missed_while_the_engine_was_away(
    own_engine: Engine,
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    subscribe: Callable[[CRI], Subscriber],
) -> None:
    """Ends and removals that criwist could not see are events after the reconnection, on the same stream."""
    daemon = criwist_daemon(engine=own_engine)
    daemon.start()
    cri = client_of(daemon)
    pod_id, steady = cri.run_in_pod()
    killed_pod, killed = cri.run_in_pod("sleep", "1000")
    removed_pod, removed = cri.run_in_pod()
    pid = own_engine.inspect(killed)["State"]["Pid"]
    events = subscribe(cri)
    daemon.program.signal(signal.SIGSTOP)
    own_engine.delete(f"/containers/{removed}", force="1")
    own_engine.delete(f"/containers/{removed_pod}", force="1")
    own_engine.kill()
    os.kill(pid, signal.SIGKILL)
    daemon.program.signal(signal.SIGCONT)
    own_engine.start()
    events.wait_for((killed, STOPPED), within=20)
    events.wait_for((removed, STOPPED), (removed, DELETED), (removed_pod, STOPPED), (removed_pod, DELETED), within=20)
    assert events.of(pod_id, steady, killed_pod) == []
    [status] = events.last(killed, STOPPED).containers_statuses
    assert status.state == api.CONTAINER_EXITED
    assert events.last(removed, DELETED).pod_sandbox_status.id == removed_pod
    cri.stop(steady)
    events.wait_for((steady, STOPPED))


def test_restart_of_the_engine(
    own_engine: Engine,
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    subscribe: Callable[[CRI], Subscriber],
) -> None:
    """A restart of the engine that leaves the containers running makes no event, and later ones arrive."""
    daemon = criwist_daemon(engine=own_engine)
    daemon.start()
    cri = client_of(daemon)
    pod_id, container_id = cri.run_in_pod()
    events = subscribe(cri)
    own_engine.restart()
    eventually(lambda: _lists(cri), within=20)
    assert events.events == []
    cri.remove_pod(pod_id)
    events.wait_for((container_id, STOPPED), (pod_id, STOPPED), (container_id, DELETED), (pod_id, DELETED))


def test_containers_that_end_with_the_engine(
    engine_factory: Callable[..., Engine],
    criwist_daemon: Callable[..., Daemon],
    client_of: Callable[[Daemon], CRI],
    subscribe: Callable[[CRI], Subscriber],
) -> None:
    """After a restart of an engine that ends its containers, each of them and each sandbox is STOPPED once."""
    engine = engine_factory()
    engine.start()
    try:
        images.load_all(engine)
        daemon = criwist_daemon(engine=engine)
        daemon.start()
        cri = client_of(daemon)
        pods = [cri.run_in_pod() for _ in range(3)]
        events = subscribe(cri)
        engine.restart()
        for pod_id, container_id in pods:
            events.wait_for((pod_id, STOPPED), within=20)
            events.wait_for((container_id, STOPPED), within=20)
            assert events.last(pod_id, STOPPED).pod_sandbox_status.state == api.SANDBOX_NOTREADY
        eventually(lambda: _lists(cri), within=20)
        cri.clean()
    finally:
        engine.destroy()


def test_shutdown(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], subscribe: Callable[[CRI], Subscriber]
) -> None:
    """At criwist's shutdown a subscription ends with UNAVAILABLE, and does not delay the end."""
    daemon = criwist_daemon()
    daemon.start()
    events = subscribe(client_of(daemon))
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < scaled(5)
    assert events.error.get(timeout=scaled(5)).code() == grpc.StatusCode.UNAVAILABLE


# -- clients that never read


#: gRPC takes no more than this of a stream before the program reads it.
_WINDOW = 16 * 1024
_SMALL_WINDOW = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW),
)


class Deaf:
    """A client, on a connection of its own, that subscribes and reads nothing."""

    def __init__(self, daemon: Daemon) -> None:
        self.channel = grpc.insecure_channel(f"unix://{daemon.socket}", options=_SMALL_WINDOW)
        stub = api_pb2_grpc.RuntimeServiceStub(self.channel)
        self.stream = stub.GetContainerEvents(api.GetEventsRequest())
        self.stream.initial_metadata()

    def end(self) -> grpc.StatusCode:
        """Read what has arrived; return how the stream ended."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self.stream)
        code: grpc.StatusCode = caught.value.code()
        return code


@pytest.mark.alone
def test_clients_that_do_not_read(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI], subscribe: Callable[[CRI], Subscriber]
) -> None:
    """A hundred subscribers that read nothing are cancelled; they delay nobody for long, and need little memory."""
    daemon = criwist_daemon()
    daemon.start()
    cri = client_of(daemon)
    config = cri.pod(annotations={"big": "x" * 32_000})  # which every event of the pod has
    pod_id = cri.run_pod(config)
    reader = subscribe(cri)
    deaf = [Deaf(daemon) for _ in range(100)]
    memory, threads = _resident(daemon.pid), _threads(daemon.pid)
    slowest_call = slowest_event = 0.0
    for _ in range(6):
        container_id = cri.run(pod_id, cri.container(), config)
        began = time.monotonic()
        cri.stop(container_id, timeout=0)
        cri.pod_ids()
        called = time.monotonic()
        slowest_call = max(slowest_call, called - began)
        reader.wait_for((container_id, CREATED), (container_id, STARTED), (container_id, STOPPED))
        slowest_event = max(slowest_event, time.monotonic() - called)
    grown, more_threads = _resident(daemon.pid) - memory, _threads(daemon.pid) - threads
    eventually(
        lambda: daemon.log_text().count("a client does not read the responses of GetContainerEvents") == 100, within=30
    )
    print(
        f"slowest StopContainer and list {slowest_call:.2f} s, slowest events {slowest_event:.2f} s after it, "
        f"memory +{grown / 2**20:.1f} MiB, threads +{more_threads}"
    )
    assert slowest_call < scaled(2)
    assert slowest_event < scaled(5)
    assert grown < 32 << 20
    assert more_threads <= STREAM_THREADS + SENDING_THREADS + IMMEDIATE_THREADS + SNAPSHOT_THREADS
    assert {client.end() for client in deaf} == {grpc.StatusCode.CANCELLED}
    assert reader.error.empty()
    for client in deaf:
        client.channel.close()


def _resident(pid: int) -> int:
    """Resident memory in bytes."""
    return _status(pid, "VmRSS:") * 1024


def _threads(pid: int) -> int:
    return _status(pid, "Threads:")


def _status(pid: int, name: str) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


# -- lists in chunks


def _streamed(call: Any, request: Any, field: str) -> list[Any]:
    """All items of a streamed list."""
    return [item for response in call(request) for item in getattr(response, field)]


def test_streamed_lists(cri: CRI) -> None:
    """A streamed list has the items of the unary list, in the same order, and takes the same filter."""
    pods = [cri.run_in_pod() for _ in range(3)]
    runtime = cri.runtime
    sandboxes = list(runtime.ListPodSandbox(api.ListPodSandboxRequest()).items)
    containers = list(runtime.ListContainers(api.ListContainersRequest()).containers)
    listed = list(cri.images.ListImages(api.ListImagesRequest()).images)
    assert len(sandboxes) == len(containers) == 3
    assert _streamed(runtime.StreamPodSandboxes, api.StreamPodSandboxesRequest(), "pod_sandboxes") == sandboxes
    assert _streamed(runtime.StreamContainers, api.StreamContainersRequest(), "containers") == containers
    assert _streamed(cri.images.StreamImages, api.StreamImagesRequest(), "images") == listed
    request = api.StreamContainersRequest(filter=api.ContainerFilter(pod_sandbox_id=pods[0][0]))
    assert [each.id for each in _streamed(runtime.StreamContainers, request, "containers")] == [pods[0][1]]
    nothing = api.StreamPodSandboxesRequest(filter=api.PodSandboxFilter(id="no such"))
    assert list(runtime.StreamPodSandboxes(nothing)) == []


def test_streamed_list_in_chunks(cri: CRI) -> None:
    """A long list comes in several responses of bounded size."""
    config = cri.pod(annotations={"big": "x" * 100_000})
    for attempt in range(6):
        config.metadata.attempt = attempt
        cri.run_pod(config)
    responses = list(cri.runtime.StreamPodSandboxes(api.StreamPodSandboxesRequest()))
    assert [len(response.pod_sandboxes) for response in responses] == [2, 2, 2]


def test_streamed_list_without_an_engine(
    criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> None:
    """While Docker is away a streamed list ends with UNAVAILABLE, as the unary one does."""
    daemon = criwist_daemon(docker_endpoint="unix:///nonexistent/docker.sock")
    daemon.program.start(daemon.socket.exists)
    cri = client_of(daemon)
    with pytest.raises(grpc.RpcError) as caught:
        list(cri.runtime.StreamContainers(api.StreamContainersRequest()))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
