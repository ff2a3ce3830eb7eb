"""The daemon as a Twisted service: it makes the adapters, assembles the core, and starts and stops both.

twistd calls :func:`makeService`.  The service that it returns makes its parts when it starts, that is after twistd has
become a daemon and chosen its reactor.  The parts are children of one ``MultiService``: they start in the order of
:meth:`Criwist._children` and stop in reverse.

criwist listens and answers Status before Docker has answered, and even if Docker never does.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from criwist import __version__, errors
from criwist.command_line.options import Options as CommandLine
from criwist.config import Config
from criwist.core.assembly import Adapters, Core, assemble, image_volumes_directory
from criwist.core.images.credential_helpers import CredentialHelpers
from criwist.core.images.credentials import DockerConfigs
from criwist.daemon.log_observer import STANDARD_OUTPUT, TWISTD_LOG, choose
from criwist.daemon.sd_notify import SystemdNotifier
from criwist.docker.agent import connections
from criwist.docker.client import Docker
from criwist.interfaces.kernel_metrics import NO_OOM_KILLS
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.kernel.cgroup.engine_cgroup import move_engine
from criwist.kernel.container_metrics import ContainerMetrics
from criwist.kernel.container_processes import ContainerProcesses
from criwist.kernel.hangup import hang_up
from criwist.kernel.layer_mounts import LayerMounts
from criwist.kernel.layer_usage import LayerMeasurements
from criwist.kernel.netns import connect
from criwist.kernel.oom_kills import OomKills
from criwist.kernel.oom_score_floor import local_oom_score_floor
from criwist.kernel.process_tree import Processes
from criwist.kernel.usage import Usage
from criwist.logs.container_logs import ContainerLogs
from criwist.network.providers import pod_networks
from criwist.network.resolvconf import ResolvConfs
from criwist.records.sandboxes import SandboxRecords, mirror_directory
from criwist.rpc.cadvisor import CadvisorServer, CadvisorService
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.images import ImageService
from criwist.rpc.runtime import RuntimeService
from criwist.rpc.server import Server
from criwist.rpc.streaming import StreamingUrls
from criwist.streaming.server import StreamingServer
from criwist.threads import run_to_its_end

__all__ = ["Options", "makeService"]


class Options(CommandLine):
    """The command line, and the choice of twistd's log observer."""

    def postOptions(self) -> None:
        """Check the values; apply ``--log-level`` to the log of this process."""
        super().postOptions()
        twistd = self.parent
        if twistd is not None and not twistd.get("logger") and not twistd.get("syslog"):
            path = twistd.get("logfile") or (STANDARD_OUTPUT if twistd.get("nodaemon") else TWISTD_LOG)
            twistd["logger"] = choose(self.config().log_level, path)


def makeService(options: Options) -> IService:
    """Return the service of a criwist daemon.  Its parts are made when it starts."""
    config = options.config()
    return Criwist(config, tuple(dict.fromkeys(options.warnings)), os.environ)


@define(eq=False)
class Criwist(MultiService):
    """One node's CRI runtime."""

    _config: Config
    _warnings: tuple[str, ...]
    _environment: Mapping[str, str]
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        MultiService.__init__(self)

    def startService(self) -> None:
        """Make the parts and serve.

        :raises SystemExit: with a sentence, if the endpoint or a directory cannot be used.
        """
        from twisted.internet import reactor

        for warning in self._warnings:
            self._log.warn("{warning}", warning=warning)
        try:
            self._prepare()
            adapters = self._adapters(reactor)
            core = assemble(config=self._config, adapters=adapters)
            for child in self._children(core, adapters, reactor):
                child.setServiceParent(self)
            super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        except (errors.CriwistError, OSError) as error:
            raise SystemExit(f"criwist: {error}") from error

    def _prepare(self) -> None:
        """Make the root directory.  The parts make theirs in it."""
        os.makedirs(self._config.root_directory, mode=0o711, exist_ok=True)

    def _children(self, core: Core, adapters: Adapters, reactor: Any) -> list[IService]:
        """Return the parts in the order of their start.

        They stop in reverse: the engine's events and the logs first, then the gRPC server, which answers pending RPCs
        UNAVAILABLE.  Containers go on.
        """
        streaming = StreamingServer(reactor, self._config, core.streaming_runtime)
        metrics = self._metrics_server(core, adapters, streaming, reactor)
        dispatcher = Dispatcher(reactor)
        urls = StreamingUrls(core.streaming_runtime, streaming)
        server = _GrpcServer(
            Server(
                self._config.endpoint,
                dispatcher,
                lambda version: RuntimeService(version, core, dispatcher, urls),
                ImageService(core.images, core.cache),
                adapters.metrics,
            )
        )
        network = IService(core.network, None)
        return [
            _Part(start=core.checkpoints.clear),
            streaming,
            *([] if network is None else [network]),
            *metrics,
            *self._cadvisor(core, dispatcher),
            server,
            _Part(stop=adapters.logs.stop),
            _Part(stop=core.writable_layers.stop),
            _Part(start=core.feed.start, stop=core.feed.stop),
            _Announcement(SystemdNotifier(self._environment), server),
        ]

    def _cadvisor(self, core: Core, dispatcher: Dispatcher) -> list[IService]:
        """Return cAdvisor's view, if it is configured.

        It starts before the gRPC server: kubelet looks for it once, as soon as the runtime has answered.
        """
        if not self._config.cadvisor_socket:
            return []
        server = CadvisorServer(self._config.cadvisor_socket, CadvisorService(core.cache, dispatcher))
        return [_Part(start=server.start, stop=lambda: deferToThread(server.stop().wait))]

    def _metrics(self) -> IMetrics:
        """Return a recorder if metrics are served.  Without them prometheus_client is not imported: it takes memory."""
        if not self._config.metrics_bind_addr:
            return NO_METRICS
        from criwist.metrics.recorder import Recorder

        return Recorder()

    def _metrics_server(
        self, core: Core, adapters: Adapters, streaming: StreamingServer, reactor: Any
    ) -> list[IService]:
        """Return the metrics server, if it is configured."""
        if adapters.metrics is NO_METRICS:
            return []
        from criwist.metrics.page.page import Page
        from criwist.metrics.readings import read
        from criwist.metrics.recorder import Recorder
        from criwist.metrics.server import MetricsServer

        recorder = adapters.metrics
        if not isinstance(recorder, Recorder):
            raise errors.Internal("the metrics are counted elsewhere")
        recorder.follow(core.cache)
        address, tls = self._config.metrics_bind_addr, self._config.metrics_tls
        state = partial(read, core, adapters.logs, streaming)
        page = Page(reactor, core, recorder, any_host=tls is not None)
        reasons = core.node_status.reasons_not_to_be_ready
        return [MetricsServer(reactor, address, tls, recorder, state, reasons, page)]

    def _adapters(self, reactor: Any) -> Adapters:
        config, threadpool = self._config, reactor.getThreadPool()
        usage, local = Usage(), config.docker_endpoint.startswith("unix://")
        metrics = self._metrics()
        docker = Docker(
            reactor,
            connections(reactor, config.docker_endpoint, config.docker_tls),
            request_timeout=config.runtime_request_timeout,
            metrics=metrics,
        )
        return Adapters(
            clock=reactor,
            docker=docker,
            logs=ContainerLogs(config, docker, reactor, metrics=metrics),
            networks=pod_networks(config, reactor, self._environment, metrics),
            records=SandboxRecords(posixpath.join(config.root_directory, "sandboxes"), mirror=mirror_directory()),
            resolv_confs=ResolvConfs(posixpath.join(config.root_directory, "resolv-confs")),
            layer_mounts=LayerMounts(reactor, threadpool, image_volumes_directory(config)),
            processes=Processes(reactor, threadpool),
            container_processes=ContainerProcesses(reactor, threadpool),
            usage=usage,
            container_metrics=ContainerMetrics(usage),
            oom_kills=OomKills() if local else NO_OOM_KILLS,
            layer_usage=LayerMeasurements(reactor, threadpool),
            docker_configs=DockerConfigs(
                self._environment, os.getcwd(), CredentialHelpers(reactor, self._environment).get
            ),
            read_oom_score_floor=lambda: local_oom_score_floor(config.docker_endpoint),
            move_engine=self._move_engine,
            connect_port=partial(connect, reactor=reactor),
            hang_up=hang_up,
            in_thread=partial(run_to_its_end, reactor, threadpool),
            metrics=metrics,
        )

    def _move_engine(self) -> None:
        """Apply ``--runtime-cgroups``.  A failure is logged; pods run all the same."""
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


def _nothing() -> None:
    """Do nothing."""


@define(eq=False)
class _Part(Service):
    """A part of the daemon that is not a Twisted service itself.

    :param start: called when the service starts.
    :param stop: called when it stops; a Deferred is waited for.
    """

    _start: Callable[[], object] = field(default=_nothing, kw_only=True)
    _stop: Callable[[], Any] = field(default=_nothing, kw_only=True)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        self._start()

    def stopService(self) -> Deferred[Any] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        stopped: Deferred[Any] | None = self._stop()
        return stopped


@define(eq=False)
class _GrpcServer(Service):
    """The gRPC server, in threads of its own."""

    _server: Server
    #: The address that it serves, once it has started.
    address: str = field(default="", init=False)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        self.address = self._server.start()

    def stopService(self) -> Deferred[Any]:
        super().stopService()  # type: ignore[no-untyped-call]
        stopped: Deferred[Any] = deferToThread(self._server.stop().wait)
        return stopped


@define(eq=False)
class _Announcement(Service):
    """Reports to the service manager and to the log that the daemon serves, and to the former that it stops."""

    _notifier: SystemdNotifier
    _server: _GrpcServer
    _log = Logger()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service has no annotations
        self._notifier.ready()
        self._log.info(
            "criwist {version} serves the CRI on {address}; "
            "try: crictl --runtime-endpoint {address} pods, or: python -m criwist.demo --help",
            version=__version__,
            address=self._server.address,
        )

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping()
