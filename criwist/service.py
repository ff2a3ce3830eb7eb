"""The composition: the only module that knows all the others.

:func:`makeService` is what twistd calls.  The service it returns builds the parts when it starts, that is after
twistd has become a daemon and chosen its reactor:

    IDocker ── Cache ◀── EngineFeed          what Docker knows, kept fresh
        │        │
        ├── Pods, Containers, Images, Execs   what the CRI demands, over the adapters
        │        │
        └─────── rpc.Server                   gRPC in front of it all

It listens and answers Status before Docker has answered, and whether it does or not.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import define, field
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from criwist import __version__, errors
from criwist.command_line.options import Options as CommandLine
from criwist.config import Config
from criwist.core.containers.checkpoints import Checkpoints
from criwist.core.containers.containers import Containers
from criwist.core.containers.image_files import ImageFiles
from criwist.core.containers.image_users import ImageUsers
from criwist.core.containers.image_volumes import ImageVolumes
from criwist.core.exec.exec_sync import ExecSync
from criwist.core.exec.streaming_runtime import StreamingRuntime
from criwist.core.images.credential_helpers import CredentialHelpers
from criwist.core.images.credentials import DockerConfigs
from criwist.core.images.images import Images
from criwist.core.node.status import NodeStatus
from criwist.core.node.verbose_info import VerboseInfo
from criwist.core.recovery import Recovery
from criwist.core.sandboxes.pause_image import PauseImage
from criwist.core.sandboxes.sandboxes import Sandboxes
from criwist.core.state.cache import Cache
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.event_feed import EventFeed
from criwist.core.state.observed_state import ObservedStateReader, read_observed_state
from criwist.core.state.pod_networks import PodNetworks
from criwist.core.state.projection import Projection
from criwist.daemon.log_observer import STANDARD_OUTPUT, TWISTD_LOG, choose
from criwist.daemon.sd_notify import SystemdNotifier
from criwist.docker.agent import connections
from criwist.docker.client import Docker
from criwist.interfaces.engine import EngineFacts
from criwist.interfaces.logs import IContainerLogs
from criwist.kernel.cgroup.engine_cgroup import move_engine
from criwist.kernel.hangup import hang_up
from criwist.kernel.mounts import LayerMounts
from criwist.kernel.netns import connect
from criwist.kernel.oom_score_floor import local_oom_score_floor
from criwist.kernel.processes import Processes
from criwist.locks import Locks
from criwist.logs.container_logs import ContainerLogs
from criwist.network.providers import pod_networks
from criwist.network.resolvconf import ResolvConfs
from criwist.records.sandboxes import SandboxRecords, mirror_directory
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.images import ImageService
from criwist.rpc.runtime import RuntimeService
from criwist.rpc.server import Server
from criwist.rpc.streaming import StreamingUrls
from criwist.streaming.server import StreamingServer

__all__ = ["Options", "makeService"]

#: Seconds that a verbose status may wait for the engine.
INSPECT_WITHIN = 10.0


class Options(CommandLine):
    """The command line, and with it how twistd logs."""

    def postOptions(self) -> None:
        """Check the values; let ``--log-level`` hold for the log of this process."""
        super().postOptions()
        twistd = self.parent
        if twistd is not None and not twistd.get("logger") and not twistd.get("syslog"):
            path = twistd.get("logfile") or (STANDARD_OUTPUT if twistd.get("nodaemon") else TWISTD_LOG)
            twistd["logger"] = choose(self.config().log_level, path)


def makeService(options: Options) -> IService:
    """The service of a criwist daemon.  Builds nothing yet."""
    config = options.config()
    return Criwist(config, tuple(dict.fromkeys(options.warnings)), os.environ)


@define(eq=False)
class Criwist(Service):
    """One node's CRI runtime."""

    _config: Config
    _warnings: tuple[str, ...]
    _environment: Mapping[str, str]
    _server: Server | None = field(default=None, init=False)
    _feed: EventFeed | None = field(default=None, init=False)
    _logs: IContainerLogs | None = field(default=None, init=False)
    _parts: list[IService] = field(factory=list, init=False)
    _notifier: SystemdNotifier | None = field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        """Build the parts and serve.

        :raises SystemExit: with a sentence, if the endpoint or a directory cannot be had.
        """
        from twisted.internet import reactor

        Service.startService(self)
        for warning in self._warnings:
            self._log.warn("{warning}", warning=warning)
        try:
            self._build(reactor)
        except (errors.CriwistError, OSError) as error:
            raise SystemExit(f"criwist: {error}") from error

    def stopService(self) -> Deferred[Any] | None:
        """Answer what is under way with UNAVAILABLE, and end.  Containers go on."""
        Service.stopService(self)
        if self._notifier is not None:
            self._notifier.stopping()
        if self._feed is not None:
            self._feed.stop()
        if self._logs is not None:
            self._logs.stop()
        if self._server is None:
            return None
        ended: list[Deferred[Any]] = [deferToThread(self._server.stop().wait)]
        ended += [maybeDeferred(part.stopService) for part in self._parts]
        return DeferredList(ended)

    def _start(self, *parts: object) -> None:
        """Start those of *parts* that are services, to be stopped with us."""
        for part in parts:
            service = IService(part, None)
            if service is not None:
                service.startService()
                self._parts.append(service)

    def _build(self, reactor: Any) -> None:
        config = self._config
        os.makedirs(config.root_directory, mode=0o711, exist_ok=True)
        docker = Docker(
            reactor,
            connections(reactor, config.docker_endpoint, config.docker_tls),
            request_timeout=config.runtime_request_timeout,
        )
        processes = Processes(reactor, reactor.getThreadPool())
        engine = EngineProfile(docker, lambda: local_oom_score_floor(config.docker_endpoint))
        records = SandboxRecords(posixpath.join(config.root_directory, "sandboxes"), mirror=mirror_directory())
        resolv_confs = ResolvConfs(posixpath.join(config.root_directory, "resolv-confs"))
        networks = PodNetworks(pod_networks(config, reactor, self._environment), config.network_plugin)
        network = networks.for_new(host=False)
        logs = self._logs = ContainerLogs(config, docker, reactor)
        trees = posixpath.join(config.root_directory, "image-volumes")
        volumes = ImageVolumes(docker, LayerMounts(reactor, reactor.getThreadPool(), trees), trees)
        configs = DockerConfigs(self._environment, os.getcwd(), CredentialHelpers(reactor, self._environment).get)
        images = Images(docker, config, reactor, configs, lambda: volumes.in_use() | cache.snapshot.image_volumes)
        describe = Projection(
            engine,
            records,
            networks,
            images.image,
            ObservedStateReader(read_observed_state),
            volumes.volume_at,
            config.root_directory,
        )
        cache = Cache(docker, logs, describe)
        locks = Locks()
        files = ImageFiles(docker)
        containers = Containers(
            docker,
            cache,
            engine,
            logs,
            locks,
            resolv_confs,
            volumes,
            ImageUsers(docker, files),
            files,
            partial(_image_id, images),
            deferToThread,
        )
        pause = PauseImage(config.pod_infra_container_image, docker, images, engine)
        pods = Sandboxes(docker, cache, engine, records, networks, locks, pause.ensure, containers.remove, resolv_confs)
        recovery = Recovery(docker, cache, records, networks, logs, volumes, files)

        async def connected(facts: EngineFacts) -> None:
            await engine.connected(facts)
            self._move_engine()
            await volumes.take_stock()
            await images.refresh()

        feed = self._feed = EventFeed(
            docker, cache, reactor, connected, recovery.before_use, recovery.run, images.event
        )
        execs = ExecSync(docker, cache, feed, processes, reactor)
        runtime = StreamingRuntime(docker, cache, feed, partial(connect, reactor=reactor), hang_up, reactor)
        streaming = StreamingServer(reactor, config, runtime)
        streams = StreamingUrls(runtime, streaming)
        checkpoints = Checkpoints(
            docker, reactor, reactor, reactor.getThreadPool(), posixpath.join(config.root_directory, "checkpoints")
        )
        checkpoints.clear()
        door = Dispatcher(reactor)
        node = NodeStatus(config, docker, engine, cache, network)
        verbose = VerboseInfo(
            engine, records, lambda one: door.wait(lambda: docker.inspect_container(one), INSPECT_WITHIN, "inspection")
        )
        server = self._server = Server(
            config.endpoint,
            door,
            lambda version: RuntimeService(
                version, node, cache, pods, containers, execs, network, verbose, streams, checkpoints
            ),
            ImageService(images, cache),
        )
        self._start(streaming, network)
        address = server.start()
        feed.start()
        self._notifier = SystemdNotifier(self._environment)
        self._notifier.ready()
        self._log.info(
            "criwist {version} serves the CRI on {address}; "
            "try: crictl --runtime-endpoint {address} pods, or: python -m criwist.demo --help",
            version=__version__,
            address=address,
        )

    def _move_engine(self) -> None:
        """``--runtime-cgroups``; what cannot be done is told, and pods run all the same."""
        if not self._config.runtime_cgroups:
            return
        try:
            moved = move_engine(self._config.docker_endpoint, self._config.runtime_cgroups)
        except errors.FailedPrecondition as error:
            self._log.error("{error}", error=str(error))
            return
        self._log.info(
            "moved the engine's processes {processes} to the cgroup {cgroup}",
            processes=moved,
            cgroup=self._config.runtime_cgroups,
        )


def _image_id(images: Images, reference: str) -> str:
    """The id of an image that the engine has.

    :raises NotFound: it does not have it.
    """
    found = images.snapshot.find(reference)
    if found is None:
        raise errors.NotFound("image", reference)
    return found.id
