"""A Docker engine in memory, with the real client in front of it.

:class:`MemoryDocker` is a server: it reads the HTTP that :class:`criwist.docker.client.Docker` writes and answers as
an engine does, so what a unit test of the core runs is the core *and* the client.  A test scripts what commands do
(``programs``) and what a registry has (``registry``), acts behind the core's back (``kill``, ``remove``…), takes the
engine away and brings it back, holds calls back, and reads which calls were made (``requests``).

Nothing sleeps and nothing is random.  A call's answer is there when the call returns, unless it has to wait for the
clock (a stop's grace, a scripted pull) or for the test (``hold``)::

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
from tests.doubles.memory_routes import Routes


@define(eq=False)
class Held:
    """Calls that :meth:`MemoryDocker.hold` keeps back."""

    pattern: re.Pattern[str]
    exchanges: list[Exchange] = field(factory=list)
    _release: Callable[[Held], None] = field(default=lambda _: None)

    def release(self) -> None:
        """Answer them now, and hold no more back."""
        self._release(self)


@define(eq=False)
class MemoryDocker:
    """An engine and its client.

    :param clock: the test's ``twisted.internet.task.Clock``.
    """

    clock: IReactorTime
    #: What commands do, by command line; ``()`` stands for all others, in containers.
    programs: dict[tuple[str, ...], Program] = field(factory=lambda: {(): Program()})
    #: What can be pulled, by full reference: ``docker.io/library/busybox:latest``.
    registry: dict[str, RemoteImage] = field(factory=dict)
    #: What ``/version`` and ``/info`` say beyond the usual.
    version: dict[str, Any] = field(factory=dict)
    info: dict[str, Any] = field(factory=dict)
    #: Calls so far: ``GET /containers/json``.  A test may clear it.
    requests: list[str] = field(factory=list, init=False)
    #: References whose pull was given up by the client.
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
        self._routes = Routes(self)
        self.client = Docker(self.clock, self._ways())

    # -- What a test does to the engine

    def away(self) -> None:
        """The engine dies: connections break, new ones are refused.  Containers live on, as with live-restore."""
        self._away = True
        for connection in list(self._connections):
            connection.drop()
        self.network.settle()

    def back(self) -> None:
        """The engine is started again; it remembers no events."""
        self._away = False
        self.events.forget()

    def fail(self, pattern: str, status: int, message: str) -> None:
        """Answer the next call that matches *pattern* (``POST /containers/.*/start``) with an error."""
        self._failures.append((re.compile(pattern), Refusal(status, message)))

    def hold(self, pattern: str) -> Held:
        """Keep the answers of calls that match *pattern* back until they are released."""
        held = Held(re.compile(pattern), release=self._release)
        self._held.append(held)
        return held

    def container(self, name: str) -> Container:
        """The container of this id or name."""
        return self.containers.find(name)

    def kill(self, name: str) -> None:
        """``docker kill``, behind the client's back."""
        self.containers.kill(self.container(name), "KILL")
        self.network.settle()

    def end(self, name: str, exit_code: int = 0) -> None:
        """A container's first process, or an exec's, ends."""
        process = self.execs.all[name].process if name in self.execs.all else self.container(name).process
        if process is not None:
            process.end(exit_code)
        self.network.settle()

    def oom_kill(self, name: str) -> None:
        """The kernel kills the container's first process for want of memory."""
        self.containers.oom_kill(self.container(name))
        self.network.settle()

    def remove(self, name: str) -> None:
        """``docker rm -f``, behind the client's back."""
        self.containers.remove(self.container(name), force=True)
        self.network.settle()

    # -- Workings

    def serve(self, exchange: Exchange) -> None:
        """Answer one call."""
        self.requests.append(str(exchange))
        for held in self._held:
            if held.pattern.fullmatch(str(exchange)):
                held.exchanges.append(exchange)
                return
        self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        for failure in self._failures:
            if failure[0].fullmatch(str(exchange)):
                self._failures.remove(failure)
                raise failure[1]
        self._routes.serve(exchange)

    def _release(self, held: Held) -> None:
        self._held.remove(held)
        for exchange in held.exchanges:
            if exchange.finished:
                continue
            try:
                self._answer(exchange)
            except Refusal as refusal:
                exchange.refuse(refusal)
        self.network.settle()

    def _users_of(self, image_id: str) -> list[tuple[str, bool]]:
        using = [(one.id, one.running) for one in self.containers.all.values() if one.image_id == image_id]
        return sorted(using, key=lambda user: not user[1])

    def _build(self) -> IProtocol | None:
        if self._away:
            return None
        connection = EngineProtocol(self.serve, self._connections.remove)
        self._connections.append(connection)
        return connection

    def _ways(self) -> EngineConnections:
        ways = over_endpoint(self.clock, MemoryEndpoint(self.network, self._build), "http://docker")
        return evolve(
            ways,
            pooled=SettlingAgent(ways.pooled, self.network),
            single=SettlingAgent(ways.single, self.network),
        )
