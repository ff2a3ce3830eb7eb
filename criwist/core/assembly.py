"""The one composition of the core: configuration and adapters in, services out.

    IDocker ── Cache ◀── EventFeed           the engine's state, kept up to date
        │        │
        ├── Sandboxes, Containers, Images, ExecSync, StreamingRuntime
        │        │                            the RPCs that change something
        └── NodeStatus, VerboseInfo           the RPCs that describe

``service`` passes the adapters of a real node, the tests' ``MemoryNode`` those of a node in memory.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from socket import socket

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from criwist.config import Config
from criwist.core.containers.checkpoints import Checkpoints
from criwist.core.containers.containers import Containers
from criwist.core.containers.dependencies import ContainerDependencies
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.containers.log import forget_removed
from criwist.core.exec.exec_sync import ExecSync
from criwist.core.exec.streaming_runtime import StreamingRuntime
from criwist.core.images.credentials import DockerConfigs
from criwist.core.images.images import Images, image_cache
from criwist.core.node.status import NodeStatus
from criwist.core.node.verbose_info import VerboseInfo
from criwist.core.recovery import Recovery
from criwist.core.sandboxes.dependencies import SandboxDependencies
from criwist.core.sandboxes.pause_image import PauseImage
from criwist.core.sandboxes.sandboxes import Sandboxes
from criwist.core.state.cache import Cache
from criwist.core.state.container_events import ContainerEvents
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.event_feed import EventFeed
from criwist.core.state.observed_state import ObservedStateReader, read_observed_state
from criwist.core.state.oom_kills import OomKills
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.state.projection import Projection
from criwist.core.state.timestamps import Timestamps
from criwist.core.stats.pod_metrics import PodMetrics
from criwist.core.stats.stats import Stats
from criwist.core.stats.writable_layers import WritableLayers
from criwist.interfaces.engine import IDocker
from criwist.interfaces.kernel import IContainerProcesses, ILayerMounts, ILayerUsage, IProcesses, IUsage
from criwist.interfaces.kernel_metrics import IContainerMetrics, IOomKills
from criwist.interfaces.logs import IContainerLogs
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.interfaces.network import IPodNetwork, IResolvConfs
from criwist.interfaces.records import ISandboxRecords
from criwist.locks import Locks


@frozen(kw_only=True, eq=False)
class Core:
    """The services of one node's core.  They do nothing until :attr:`feed` is started."""

    feed: EventFeed
    cache: Cache
    container_events: ContainerEvents
    timestamps: Timestamps
    engine: EngineProfile
    #: The network of new pods.
    network: IPodNetwork
    images: Images
    image_volumes: ImageVolumes
    sandboxes: Sandboxes
    containers: Containers
    checkpoints: Checkpoints
    exec_sync: ExecSync
    streaming_runtime: StreamingRuntime
    node_status: NodeStatus
    verbose_info: VerboseInfo
    stats: Stats
    pod_metrics: PodMetrics
    oom_kills: OomKills
    writable_layers: WritableLayers
    locks: Locks


@frozen(kw_only=True, eq=False)
class Adapters:
    """What the core reaches the world through."""

    clock: IReactorTime
    docker: IDocker
    logs: IContainerLogs
    #: By ``IPodNetwork.name``.
    networks: Mapping[str, IPodNetwork]
    records: ISandboxRecords
    resolv_confs: IResolvConfs
    layer_mounts: ILayerMounts
    processes: IProcesses
    container_processes: IContainerProcesses
    usage: IUsage
    container_metrics: IContainerMetrics
    oom_kills: IOomKills
    layer_usage: ILayerUsage
    #: Finds the node's own credentials for registries.
    docker_configs: DockerConfigs
    #: Returns the least oom_score_adj that the engine may set; None if it cannot be read here.
    read_oom_score_floor: Callable[[], int | None]
    #: Moves the engine's processes to their cgroup; does not raise.
    move_engine: Callable[[], None]
    #: Connects to a port on the loopback of the network namespace of the process with this pid.
    connect_port: Callable[[int, int], Awaitable[socket]]
    #: Sends SIGHUP to the session that a process leads, and to its terminal's foreground.
    hang_up: Callable[[int], object]
    #: Calls a function in a thread and waits for its end, even if it is cancelled.
    in_thread: Callable[..., Awaitable[object]]
    metrics: IMetrics = NO_METRICS


def image_volumes_directory(config: Config) -> str:
    """Return the directory in which ``Adapters.layer_mounts`` mounts image volumes."""
    return posixpath.join(config.root_directory, "image-volumes")


def assemble(*, config: Config, adapters: Adapters) -> Core:
    """Connect the core's services to each other and to the adapters.  It starts nothing and writes nothing."""
    clock, docker = adapters.clock, adapters.docker
    state = _state(config, adapters)
    containers = _containers(adapters, state)
    sandboxes = _sandboxes(config, adapters, state, containers)
    feed = _feed(adapters, state)
    network = state.networks.for_new(host=False)
    local = config.docker_endpoint.startswith("unix://")
    layers = WritableLayers(clock, state.cache, adapters.layer_usage, config.writable_layer_interval if local else 0.0)
    timestamps = Timestamps()
    return Core(
        feed=feed,
        cache=state.cache,
        container_events=ContainerEvents(state.cache, timestamps),
        timestamps=timestamps,
        engine=state.engine,
        network=network,
        images=state.images,
        image_volumes=state.image_volumes,
        sandboxes=sandboxes,
        containers=containers,
        checkpoints=Checkpoints(
            docker,
            clock,
            adapters.container_processes,
            adapters.in_thread,
            posixpath.join(config.root_directory, "checkpoints"),
        ),
        exec_sync=ExecSync(docker, state.cache, feed, adapters.processes, clock),
        streaming_runtime=StreamingRuntime(
            docker, state.cache, feed, clock, connect=adapters.connect_port, hang_up=adapters.hang_up
        ),
        node_status=NodeStatus(config, docker, state.engine, state.cache, network),
        verbose_info=VerboseInfo(docker, state.engine, adapters.records, adapters.container_processes),
        stats=Stats(state.cache, state.engine, adapters.usage, layers, local),
        pod_metrics=PodMetrics(
            state.cache,
            state.engine,
            adapters.usage,
            adapters.container_metrics,
            layers,
            local,
            layers_measured=config.writable_layer_interval > 0,
        ),
        oom_kills=state.oom_kills,
        writable_layers=layers,
        locks=state.locks,
    )


@frozen(kw_only=True, eq=False)
class _State:
    """What all features share."""

    engine: EngineProfile
    networks: PodNetworks
    cache: Cache
    oom_kills: OomKills
    images: Images
    image_files: ImageFiles
    image_volumes: ImageVolumes
    locks: Locks


def _state(config: Config, adapters: Adapters) -> _State:
    docker = adapters.docker
    engine = EngineProfile(docker, adapters.read_oom_score_floor)
    networks = PodNetworks(adapters.networks, config.network_plugin)
    image_volumes = ImageVolumes(docker, adapters.layer_mounts, image_volumes_directory(config))
    cached_images = image_cache(docker, config)
    oom_kills = OomKills(adapters.oom_kills, adapters.metrics)
    projection = Projection(
        engine=engine,
        records=adapters.records,
        networks=networks,
        image=cached_images.document,
        observe=ObservedStateReader(partial(read_observed_state, adapters.container_processes)),
        volume_at=image_volumes.volume_at,
        oom_killed=oom_kills.has,
        own_directory=config.root_directory,
    )
    cache = Cache(docker, adapters.logs, projection)
    forget_removed(cache, adapters.logs)
    oom_kills.follow(cache)
    images = Images(
        docker,
        config,
        adapters.clock,
        adapters.docker_configs,
        lambda: image_volumes.in_use() | cache.snapshot.image_volumes,
        cache=cached_images,
        metrics=adapters.metrics,
    )
    return _State(
        engine=engine,
        networks=networks,
        cache=cache,
        oom_kills=oom_kills,
        images=images,
        image_files=ImageFiles(docker),
        image_volumes=image_volumes,
        locks=Locks(),
    )


def _containers(adapters: Adapters, state: _State) -> Containers:
    return Containers(
        ContainerDependencies(
            docker=adapters.docker,
            cache=state.cache,
            engine=state.engine,
            logs=adapters.logs,
            locks=state.locks,
            processes=adapters.container_processes,
            resolv_confs=adapters.resolv_confs,
            images=state.images,
            image_files=state.image_files,
            image_users=ImageUsers(adapters.docker, state.image_files),
            image_volumes=state.image_volumes,
        )
    )


def _sandboxes(config: Config, adapters: Adapters, state: _State, containers: Containers) -> Sandboxes:
    return Sandboxes(
        SandboxDependencies(
            docker=adapters.docker,
            cache=state.cache,
            engine=state.engine,
            records=adapters.records,
            networks=state.networks,
            locks=state.locks,
            pause_image=PauseImage(config.pod_infra_container_image, adapters.docker, state.images, state.engine),
            remove_container=containers.remove,
            resolv_confs=adapters.resolv_confs,
        )
    )


def _feed(adapters: Adapters, state: _State) -> EventFeed:
    recovery = Recovery(
        docker=adapters.docker,
        cache=state.cache,
        engine=state.engine,
        records=adapters.records,
        networks=state.networks,
        logs=adapters.logs,
        images=state.images,
        image_files=state.image_files,
        image_volumes=state.image_volumes,
        move_engine=adapters.move_engine,
    )
    return EventFeed(
        adapters.docker,
        state.cache,
        adapters.clock,
        connected=recovery.connected,
        before_listing=recovery.before_listing,
        before_use=recovery.before_use,
        after_resync=recovery.after_resync,
        image_event=state.images.event,
        oom_event=state.oom_kills.event,
        metrics=adapters.metrics,
    )
