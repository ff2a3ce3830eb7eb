"""The vocabulary of the Docker contract: an engine with an image, commands, and ways to wait and to follow events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import TestCase

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from criwist.interfaces.engine import IDocker, IHijackedStream, JSONObject
from criwist.wire.stdcopy import Demultiplexer, Stream

#: Attempts of :meth:`Situation.eventually`, and seconds between them.
_ATTEMPTS = 200
_PAUSE = 0.05

SLEEP = ("sleep", "1000")
FAIL = ("sh", "-c", "exit 3")
STUBBORN = ("sh", "-c", "trap '' TERM; while true; do sleep 1; done")
SPEAK = ("sh", "-c", "echo out; echo err >&2")
ECHO = ("cat",)
MISSING = ("/no/such/program",)


@frozen
class Situation:
    """An engine that a scenario starts with."""

    docker: IDocker
    clock: IReactorTime
    #: A reference of an image in the engine that has ``sh``.
    image: str

    async def eventually(self, poll: Callable[[], Any]) -> Any:
        """Poll until *poll*, a function or a coroutine function, returns a true result, and return it."""
        for _ in range(_ATTEMPTS):
            result = poll()
            if isinstance(result, Coroutine):
                result = await result
            if result:
                return result
            await deferLater(self.clock, _PAUSE, lambda: None)
        raise AssertionError(f"{poll} did not come true")

    async def created(self, name: str, command: tuple[str, ...] = SLEEP, **body: Any) -> str:
        """Create a container, and return its id."""
        return await self.docker.create_container(name, {"Image": self.image, "Cmd": list(command), **body})

    async def running(self, name: str, command: tuple[str, ...] = SLEEP, **body: Any) -> str:
        """Create and start a container, and return its id."""
        container = await self.created(name, command, **body)
        await self.docker.start_container(container)
        return container

    async def exited(self, container: str) -> JSONObject:
        """Wait until the container has exited, and return its State."""

        async def poll() -> JSONObject | None:
            state: JSONObject = (await self.docker.inspect_container(container))["State"]
            return state if state["Status"] == "exited" else None

        exited: JSONObject = await self.eventually(poll)
        return exited

    async def exec(self, container: str, command: tuple[str, ...], **body: Any) -> str:
        """Create an exec with attached output, and return its id."""
        return await self.docker.create_exec(
            container, {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **body}
        )


class Output(Protocol):
    """Collects the output of a hijacked stream; ``ended`` fires at its end."""

    def __init__(self, stream: IHijackedStream) -> None:
        self.ended: Deferred[None] = Deferred()
        self.text: dict[Stream, bytes] = {}
        self._frames = Demultiplexer() if stream.multiplexed else None
        stream.start(self)

    @property
    def pipe(self) -> Any:
        """The transport."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        if self._frames is None:
            self.text[Stream.STDOUT] = self.text.get(Stream.STDOUT, b"") + data
            return
        for chunk in self._frames.receive_data(data):
            self.text[chunk.stream] = self.text.get(chunk.stream, b"") + bytes(chunk.data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


class Feed:
    """Collects the events of an engine; ``connected`` fires when the subscription is in force."""

    def __init__(self, docker: IDocker, since: str = "") -> None:
        self.seen: list[JSONObject] = []
        self.connected: Deferred[None] = Deferred()
        self.end: Deferred[None] = Deferred.fromCoroutine(
            docker.events(since, lambda: self.connected.callback(None), self.seen.append)
        )

    def actions(self, container: str) -> list[str]:
        """Return the actions of the container's or image's events so far."""
        return [event["Action"] for event in self.seen if event["Actor"]["ID"] == container]

    async def stop(self) -> None:
        """Cancel the subscription."""
        self.end.cancel()
        try:
            await self.end
        except CancelledError:
            return


def scenario(method: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Make a test of a coroutine method that takes a :class:`Situation`."""

    @functools.wraps(method)
    def test(self: Any) -> Any:
        return self.carry_out(method(self, self.situation()))

    return test


class Scenarios(TestCase):
    """Base of the scenarios' classes; ``docker_contract`` mixes in the test case that runs them."""

    def raises(self, kind: type[Exception], call: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Return a Deferred that fires with the exception that *call* raises, or fails if it raises none."""

        def raised(failure: Failure) -> Any:
            failure.trap(kind)
            return failure.value

        def returned(result: Any) -> Any:
            raise self.failureException(f"{kind.__name__} was not raised, but {result!r} returned")

        return Deferred.fromCoroutine(call).addCallbacks(returned, raised)
