"""Methods that answer in gRPC's threads: their results, their waiting and their thread pools."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.not_ready import NotReady
from criwist.errors import Unavailable
from criwist.rpc.serving import ThreadPools, from_snapshot, generic_handler, immediate, node_state


class Aborted(Exception):
    """The exception that grpcio raises after an abort."""


class Call:
    """A servicer context that can be aborted."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


@define
class RecordingDispatcher:
    """A dispatcher that records each wait, and returns from it at once."""

    ready: Callable[[], None]
    waits: list[tuple[str, float]] = field(factory=list)

    def wait(self, until: Callable[[], Any], seconds: float, name: str) -> None:
        self.waits.append((name, seconds))
        self.ready()


@define
class Servicer:
    """Answers Status and ListContainers once their results are known."""

    known: bool = False

    def know(self) -> None:
        """Make the results known."""
        self.known = True

    async def never(self) -> None:
        """The coroutine to wait for, which the double never runs."""
        raise AssertionError("a dispatcher that records only has run a coroutine")

    @immediate
    def Version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        return pb.VersionResponse(version=request.version)

    @node_state
    def Status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        if not self.known:
            raise NotReady("state", self.never, 3.0)
        return pb.StatusResponse()

    @from_snapshot
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        if not self.known:
            raise NotReady("list", self.never, 5.0)
        return b"\n\0"


class DirectBehaviourTests(SynchronousTestCase):
    """Answers from memory, and results that are not known yet."""

    def setUp(self) -> None:
        self.servicer = Servicer()
        self.dispatcher = RecordingDispatcher(self.servicer.know)
        self.pools = ThreadPools(*(ThreadPoolExecutor(1) for _ in range(4)))
        service = pb.DESCRIPTOR.services_by_name["RuntimeService"]
        self.handler = generic_handler(service, "runtime.v1.RuntimeService", self.servicer, self.dispatcher, self.pools)  # type: ignore[arg-type]

    def method(self, name: str) -> Any:
        """Return grpcio's handler of an RPC."""

        @define
        class Details:
            method: str
            invocation_metadata: tuple[()] = ()

        return self.handler.service(Details(f"/runtime.v1.RuntimeService/{name}"))

    def response(self, name: str, request: Any) -> bytes:
        """Return the serialized response."""
        method = self.method(name)
        serialized: bytes = method.response_serializer(method.unary_unary(request, Call()))
        return serialized

    def test_at_once(self) -> None:
        """A known result is returned without waiting."""
        response = self.response("Version", pb.VersionRequest(version="v1"))
        self.assertEqual(pb.VersionResponse.FromString(response).version, "v1")
        self.assertEqual(self.dispatcher.waits, [])

    def test_later(self) -> None:
        """After NotReady the thread waits once, as long as NotReady allows, and calls the method again."""
        self.assertEqual(self.response("Status", pb.StatusRequest()), b"")
        self.assertEqual(self.response("ListContainers", pb.ListContainersRequest()), b"\n\0")
        self.assertEqual(self.dispatcher.waits, [("Status", 3.0)])

    def test_never(self) -> None:
        """An error of the waiting is the RPC's error."""

        def fail() -> None:
            raise Unavailable("Docker is away")

        self.dispatcher.ready = fail
        refusal = self.assertRaises(Aborted, self.response, "ListContainers", pb.ListContainersRequest())
        self.assertEqual(refusal.args[0], grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.dispatcher.waits, [("ListContainers", 5.0)])

    def test_gone_again(self) -> None:
        """A second NotReady, after the waiting, is UNAVAILABLE and is not logged as a bug."""
        self.dispatcher.ready = lambda: None
        refusal = self.assertRaises(Aborted, self.response, "ListContainers", pb.ListContainersRequest())
        self.assertEqual(refusal.args[0], grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_threads(self) -> None:
        """Each decorator has threads of its own, so waiting reads do not delay other methods."""
        pools = [
            self.method(name).unary_unary.experimental_thread_pool for name in ("Version", "ListContainers", "Status")
        ]
        self.assertEqual(pools, [self.pools.immediate, self.pools.from_snapshot, self.pools.node_state])
