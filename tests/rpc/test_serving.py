"""How methods are served that answer where the request was received."""

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
from criwist.rpc.serving import Pools, from_snapshot, generic_handler, immediate, node_state


class Aborted(Exception):
    """What grpcio raises after an abort."""


class Call:
    """A servicer context that can be aborted."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """As grpcio does."""
        raise Aborted(code, details)


@define
class NotedDoor:
    """A door that waits for nothing."""

    ready: Callable[[], None]
    waits: list[tuple[str, float]] = field(factory=list)

    def wait(self, until: Callable[[], Any], seconds: float, name: str) -> None:
        """Note it; what was waited for is there."""
        self.waits.append((name, seconds))
        self.ready()


@define
class Servicer:
    """Answers as soon as it is told that it knows."""

    known: bool = False

    def know(self) -> None:
        """Answer from now on."""
        self.known = True

    async def never(self) -> None:
        """What the door is to wait for."""
        raise AssertionError("the door runs it, and this one does not")

    @immediate
    def Version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        """Always known."""
        return pb.VersionResponse(version=request.version)

    @node_state
    def Status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """Known later."""
        if not self.known:
            raise NotReady("state", self.never, 3.0)
        return pb.StatusResponse()

    @from_snapshot
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        """Known later, in serialized form."""
        if not self.known:
            raise NotReady("list", self.never, 5.0)
        return b"\n\0"


class AnsweringTests(SynchronousTestCase):
    """Answers from memory, and what is not there yet."""

    def setUp(self) -> None:
        self.servicer = Servicer()
        self.door = NotedDoor(self.servicer.know)
        self.pools = Pools(*(ThreadPoolExecutor(1) for _ in range(3)))
        service = pb.DESCRIPTOR.services_by_name["RuntimeService"]
        self.handler = generic_handler(service, "runtime.v1.RuntimeService", self.servicer, self.door, self.pools)  # type: ignore[arg-type]

    def method(self, name: str) -> Any:
        """grpcio's handler of an RPC."""

        @define
        class Details:
            method: str
            invocation_metadata: tuple[()] = ()

        return self.handler.service(Details(f"/runtime.v1.RuntimeService/{name}"))

    def answer(self, name: str, request: Any) -> bytes:
        """The serialized answer."""
        method = self.method(name)
        serialized: bytes = method.response_serializer(method.unary_unary(request, Call()))
        return serialized

    def test_at_once(self) -> None:
        """What is known is answered without waiting."""
        answer = self.answer("Version", pb.VersionRequest(version="v1"))
        self.assertEqual(pb.VersionResponse.FromString(answer).version, "v1")
        self.assertEqual(self.door.waits, [])

    def test_later(self) -> None:
        """What is not known yet is waited for as long as it says, once, and asked again."""
        self.assertEqual(self.answer("Status", pb.StatusRequest()), b"")
        self.assertEqual(self.answer("ListContainers", pb.ListContainersRequest()), b"\n\0")
        self.assertEqual(self.door.waits, [("Status", 3.0)])

    def test_never(self) -> None:
        """What the waiting ends with is the answer."""

        def away() -> None:
            raise Unavailable("Docker is away")

        self.door.ready = away
        refusal = self.assertRaises(Aborted, self.answer, "ListContainers", pb.ListContainersRequest())
        self.assertEqual(refusal.args[0], grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.door.waits, [("ListContainers", 5.0)])

    def test_gone_again(self) -> None:
        """What is not known after the waiting either is UNAVAILABLE, and no fault of ours."""
        self.door.ready = lambda: None
        refusal = self.assertRaises(Aborted, self.answer, "ListContainers", pb.ListContainersRequest())
        self.assertEqual(refusal.args[0], grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_threads(self) -> None:
        """Each way has threads of its own: who waits keeps none of the others waiting."""
        pools = [
            self.method(name).unary_unary.experimental_thread_pool for name in ("Version", "ListContainers", "Status")
        ]
        self.assertEqual(pools, [self.pools.immediate, self.pools.reads, self.pools.states])
