"""A Docker engine in memory, with the real client in front of it.

:class:`MemoryDocker` is a server: it reads the HTTP that :class:`criwist.docker.client.Docker` writes and responds as
an engine does, so a unit test of the core runs the core *and* the client.  A test scripts commands (``programs``) and
the content of a registry (``registry``), changes containers as another client of the engine would (``kill``,
``remove``…), stops the engine and starts it again, holds calls back, and reads the log of calls (``requests``).

Nothing sleeps and nothing is random.  A call has its response when it returns, unless it has to wait for the clock (a
stop's grace, a scripted pull) or for the test (``hold``)::

    memory = MemoryDocker(Clock())
    memory.images.add("busybox")
    container = self.successResultOf(Deferred.fromCoroutine(memory.client.create_container("a", {"Image": "busybox"})))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet.interfaces import IProtocol, IReactorTime

from criwist.docker.agent import EngineConnections, over_endpoint
from criwist.docker.client import Docker
from tests.doubles.engine_server import EngineProtocol, Exchange, Refusal
from tests.doubles.memory_containers import Container, Containers
from tests.doubles.memory_events import Events, Times
from tests.doubles.memory_execs import Execs
from tests.doubles.memory_images import Images, RemoteImage
from tests.doubles.memory_network import MemoryEndpoint, MemoryNetwork, SettlingAgent
from tests.doubles.memory_processes import Program
from tests.doubles.memory_routes import EngineState, Routes


@define(eq=False)
class Held:
    """The calls that :meth:`MemoryDocker.hold` holds back."""

    pattern: re.Pattern[str]
    exchanges: list[Exchange] = field(factory=list)
    _release: Callable[[Held], None] = field(default=lambda _: None)

    def release(self) -> None:
        """Respond to them now, and hold back no others."""
        self._release(self)


@define(eq=False)
class MemoryDocker:
    """An engine and the client that is connected to it.

    :param clock: the test's ``twisted.internet.task.Clock``.
    """

    clock: IReactorTime
    #: The scripts of commands, by command line; ``()`` stands for all others, in containers.
    programs: dict[tuple[str, ...], Program] = field(factory=lambda: {(): Program()})
    #: Images that can be pulled, by full reference: ``docker.io/library/busybox:latest``.
    registry: dict[str, RemoteImage] = field(factory=dict)
    #: Members that replace or join those of ``/version`` and ``/info``.
    version: dict[str, Any] = field(factory=dict)
    info: dict[str, Any] = field(factory=dict)
    #: Calls so far: ``GET /containers/json``.  A test may clear it.
    requests: list[str] = field(factory=list, init=False)
    #: References whose pull the client cancelled.
    abandoned_pulls: list[str] = field(factory=list, init=False)
    network: MemoryNetwork = field(init=False)
    events: Events = field(init=False)
    images: Images = field(init=False)
    containers: Containers = field(init=False)
    execs: Execs = field(init=False)
    client: Docker = field(init=False)
    _routes: Routes = field(init=False)
    _connections: list[EngineProtocol] = field(factory=list, init=False)
    _away: bool = field(default=False, init=False)
    _failures: list[tuple[re.Pattern[str], Refusal]] = field(factory=list, init=False)
    _held: list[Held] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.network = MemoryNetwork(self.clock)
        times = Times(self.clock)
        self.events = Events(times)
        self.images = Images(times, self.events)
        self.containers = Containers(self.clock, times, self.events, self.images, self.programs)
        self.images.users = self._users_of
        self.execs = Execs(self.containers, self.events, self.programs)
        state = EngineState(
            clock=self.clock,
            network=self.network,
            events=self.events,
            images=self.images,
            containers=self.containers,
            execs=self.execs,
            registry=self.registry,
            version=self.version,
            info=self.info,
            abandoned_pulls=self.abandoned_pulls,
        )
        self._routes = Routes(state)
        self.client = Docker(self.clock, self._engine_connections())

    # -- Acts of a test

    def away(self) -> None:
        """Kill the engine: connections break, new ones are refused.  Containers live on, as with live-restore."""
        self._away = True
        for connection in list(self._connections):
            connection.drop()
        self.network.settle()

    def back(self) -> None:
        """Start the engine again; it remembers no events."""
        self._away = False
        self.events.forget()

    def fail(self, pattern: str, status: int, message: str) -> None:
        """Respond to the next call that matches *pattern* (``POST /containers/.*/start``) with an error."""
        self._failures.append((re.compile(pattern), Refusal(status, message)))

    def hold(self, pattern: str) -> Held:
        """Hold back the calls that match *pattern* until they are released."""
        held = Held(re.compile(pattern), release=self._release)
        self._held.append(held)
        return held

    def container(self, name: str) -> Container:
        """Return the container of this id or name."""
        return self.containers.find(name)

    def kill(self, name: str) -> None:
        """Kill a container, as ``docker kill`` of another client does."""
        self.containers.kill(self.container(name), "KILL")
        self.network.settle()

    def end(self, name: str, exit_code: int = 0) -> None:
        """End the first process of a container, or the process of an exec."""
        process = self.execs.all[name].process if name in self.execs.all else self.container(name).process
        if process is not None:
            process.end(exit_code)
        self.network.settle()

    def oom_kill(self, name: str) -> None:
        """Kill the container's first process as the kernel's OOM killer does."""
        self.containers.oom_kill(self.container(name))
        self.network.settle()

    def remove(self, name: str) -> None:
        """Remove a container, as ``docker rm -f`` of another client does."""
        self.containers.remove(self.container(name), force=True)
        self.network.settle()

    # -- The server

    def serve(self, exchange: Exchange) -> None:
        """Respond to one call, or hold it back."""
        self.requests.append(str(exchange))
        for held in self._held:
            if held.pattern.fullmatch(str(exchange)):
                held.exchanges.append(exchange)
                return
        self._respond(exchange)

    def _respond(self, exchange: Exchange) -> None:
        for failure in self._failures:
            pattern, refusal = failure
            if pattern.fullmatch(str(exchange)):
                self._failures.remove(failure)
                raise refusal
        self._routes.serve(exchange)

    def _release(self, held: Held) -> None:
        self._held.remove(held)
        for exchange in held.exchanges:
            if exchange.finished:
                continue
            try:
                self._respond(exchange)
            except Refusal as refusal:
                exchange.refuse(refusal)
        self.network.settle()

    def _users_of(self, image_id: str) -> list[tuple[str, bool]]:
        using = [(one.id, one.running) for one in self.containers.all.values() if one.image_id == image_id]
        return sorted(using, key=lambda user: not user[1])

    def _accept(self) -> IProtocol | None:
        if self._away:
            return None
        connection = EngineProtocol(self.serve, self._connections.remove)
        self._connections.append(connection)
        return connection

    def _engine_connections(self) -> EngineConnections:
        connections = over_endpoint(self.clock, MemoryEndpoint(self.network, self._accept), "http://docker")
        return evolve(
            connections,
            pooled=SettlingAgent(connections.pooled, self.network),
            single=SettlingAgent(connections.single, self.network),
        )
