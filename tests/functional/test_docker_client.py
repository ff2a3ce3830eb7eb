"""The client of an engine that restarts, is killed, or is behind TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from criwist.config import TLSFiles
from criwist.docker.agent import connections
from criwist.docker.client import Docker
from criwist.errors import CriwistError, NotFound, Unavailable
from criwist.wire.stdcopy import Stream
from tests.doubles.contract_situation import Feed, Output
from tests.harness import images
from tests.harness.certificates import Authority
from tests.harness.clock import scaled
from tests.harness.engine import Engine
from tests.harness.registry import free_port

NO_NETWORK = {"HostConfig": {"NetworkMode": "none"}}


@pytest.fixture(scope="module")
def mortal_engine(engine_factory: Callable[..., Engine]) -> Engine:
    """An engine that tests may stop."""
    return engine_factory(bridge=False)


class ClientCase(TestCase):
    """A test case with an engine and clients of it."""

    timeout = scaled(120)

    def started(self, engine: Engine) -> Engine:
        """Return *engine*, running, with an image and without containers."""
        if not engine.answers():
            engine.start()
        images.load(engine, images.image(images.BUSYBOX).archive(images.BUSYBOX))
        engine.remove_containers()
        return engine

    def client(self, address: str, tls: TLSFiles | None = None) -> Docker:
        """Return a client of the engine at this address."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        engine_connections = connections(reactor, address, tls)
        self.addCleanup(engine_connections.close)
        return Docker(reactor, engine_connections)

    async def raises(self, kind: type[Exception], call: Any) -> Any:
        """Return the exception that *call* raises."""
        try:
            result = await call
        except kind as error:
            return error
        return self.fail(f"{kind.__name__} was not raised, but {result!r} returned")

    async def pause(self, seconds: float) -> None:
        """Run the reactor for some seconds."""
        await deferLater(self.reactor, seconds, lambda: None)


class RestartTests(ClientCase):
    """An engine that stops and starts."""

    mortal: Engine

    @pytest.fixture(autouse=True)
    def _take_engine(self, mortal_engine: Engine) -> None:
        self.mortal = mortal_engine

    async def test_kept_connections_survive_a_restart(self) -> None:
        """No call fails after a restart, although all pooled connections are dead."""
        engine = self.started(self.mortal)
        docker = self.client(engine.endpoint)
        await docker.connect()
        for _ in range(3):
            engine.restart()  # the reactor does not run meanwhile, so it has not noticed
            await docker.ping()
            container = await docker.create_container("", {"Image": images.BUSYBOX, "Cmd": ["true"], **NO_NETWORK})
            await docker.remove_container(container, force=False, volumes=True)
            await docker.info()

    async def test_an_engine_that_is_down_is_unavailable(self) -> None:
        """Calls and the event feed raise Unavailable while the engine is down, and work again when it is up."""
        engine = self.started(self.mortal)
        docker = self.client(engine.endpoint)
        await docker.connect()
        feed = Feed(docker)
        await feed.connected
        await deferToThread(engine.kill)
        await self.raises(Unavailable, feed.end)
        for call in (
            docker.ping(),
            docker.connect(),
            docker.containers({}),
            docker.create_container("a", {"Image": images.BUSYBOX}),
            docker.start_exec("a", tty=False),
            docker.pull_image("a:1", None, lambda message: None),
            docker.events("", lambda: None, lambda event: None),
            docker.logs("a", {"stdout": "1"}),
        ):
            error = await self.raises(Unavailable, call)
            self.assertTrue(str(error).startswith("Docker is away"), str(error))
        engine.start()  # in this thread: the engine dies with the thread that started it
        await docker.connect()

    async def test_an_engine_killed_under_a_call(self) -> None:
        """A waiting stop and a running exec fail as soon as the engine is killed."""
        engine = self.started(self.mortal)
        docker = self.client(engine.endpoint)
        body = {"Image": images.BUSYBOX, "Cmd": ["sh", "-c", "trap '' TERM; sleep 1000"], **NO_NETWORK}
        container = await docker.create_container("one", body)
        await docker.start_container(container)
        exec_id = await docker.create_exec(container, {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True})
        output = Output(await docker.start_exec(exec_id, tty=False))
        stopping = Deferred.fromCoroutine(docker.stop_container(container, 1000))
        await self.pause(0.5)
        await deferToThread(engine.kill)
        await self.raises(Unavailable, stopping)
        await output.ended

    async def test_a_cancelled_call_drops_its_connection(self) -> None:
        """Cancelling a call closes its connection to the engine."""
        engine = self.started(self.mortal)
        docker = self.client(engine.endpoint)
        feed = Feed(docker)
        await feed.connected
        await self.pause(0.1)
        before = _connections(engine)
        await feed.stop()
        for _ in range(100):
            if _connections(engine) == before - 1:
                return
            await self.pause(0.05)
        self.fail("the connection of the feed stands")


class TLSTests(ClientCase):
    """An engine behind TLS with certificates on both sides."""

    make_engine: Callable[..., Engine]
    root: Path

    @pytest.fixture(autouse=True)
    def _take_engine(self, engine_factory: Callable[..., Engine], tmp_path: Path) -> None:
        self.make_engine = engine_factory
        self.root = tmp_path

    async def test_tls(self) -> None:
        """Calls, events and execs work over TLS, with the end of input; wrong certificates are refused."""
        authority, port = Authority(self.root), free_port()
        server, ours = authority.issue("engine.test", "127.0.0.1"), authority.issue("us")
        flags = ["--tlsverify", f"--tlscacert={server.ca}", f"--tlscert={server.certificate}", f"--tlskey={server.key}"]
        self.started(self.make_engine(bridge=False, flags=[*flags, f"--host=tcp://127.0.0.1:{port}"]))
        docker = self.client(f"tcp://127.0.0.1:{port}", ours)
        await docker.connect()
        await self.check_calls(docker)
        await self.check_input(docker)
        await self.check_strangers(port, ours)

    async def check_calls(self, docker: Docker) -> None:
        """Check calls and the event feed."""
        await self.raises(NotFound, docker.inspect_container("absent"))
        feed = Feed(docker)
        await feed.connected
        body = {"Image": images.BUSYBOX, "Cmd": ["sleep", "1000"], **NO_NETWORK}
        await docker.start_container(await docker.create_container("one", body))
        await feed.stop()

    async def check_input(self, docker: Docker) -> None:
        """Check that ``cat`` returns a megabyte and ends with its input."""
        body = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        exec_id = await docker.create_exec("one", body)
        output = Output(await docker.start_exec(exec_id, tty=False))
        data = bytes(range(256)) * 4096
        output.pipe.write(data)
        output.pipe.write(b"end")
        output.pipe.loseWriteConnection()
        output.pipe.loseWriteConnection()
        await output.ended
        self.assertEqual(output.text[Stream.STDOUT], data + b"end")
        self.assertEqual((await docker.inspect_exec(exec_id))["ExitCode"], 0)

    async def check_strangers(self, port: int, ours: TLSFiles) -> None:
        """Check an unknown authority, a certificate for another name, and a client without a certificate."""
        address = f"tcp://127.0.0.1:{port}"
        stranger = Authority(self.root, "stranger")
        for call in (
            self.client(address, evolve(ours, ca=str(stranger.path))),
            self.client(f"tcp://localhost:{port}", ours),
            self.client(address, TLSFiles(ca=ours.ca)),
            self.client(address, stranger.issue("us-too")),
        ):
            await self.raises(Unavailable, call.ping())
        await self.raises(CriwistError, self.client(address).ping())


def _connections(engine: Engine) -> int:
    """Return the number of connections to the engine's socket."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {engine.socket}") for line in lines)
