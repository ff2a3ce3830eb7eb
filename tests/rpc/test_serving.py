"""Methods that answer in gRPC's threads: their results, their waiting and their thread pools."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from attrs import define, field, fields
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.not_ready import NotReady
from criwist.errors import Unavailable
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.serving import (
    ThreadPools,
    from_snapshot,
    generic_handler,
    immediate,
    node_state,
    on_reactor,
    streamed,
    subscription,
)


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
        self.pools = ThreadPools(*(ThreadPoolExecutor(1) for _ in range(3)))
        service = pb.DESCRIPTOR.services_by_name["RuntimeService"]
        self.handler = generic_handler(service, "runtime.v1.RuntimeService", self.servicer, self.dispatcher, self.pools)

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


class StreamingServicer:
    """A servicer with a list in chunks, and a subscription."""

    def __init__(self) -> None:
        self.known = False
        self.items = b""
        self.receivers: list[Callable[[bytes], None]] = []

    async def know(self) -> None:
        """Make the list known."""
        self.known = True

    @from_snapshot
    def ListContainers(self, request: pb.ListContainersRequest) -> bytes:
        if not self.known:
            raise NotReady("list", self.know, 5.0)
        return self.items

    StreamContainers = streamed(ListContainers)

    @subscription
    def GetContainerEvents(self, request: pb.GetEventsRequest, receive: Callable[[bytes], None]) -> Callable[[], None]:
        self.receivers.append(receive)
        return lambda: self.receivers.remove(receive)


class StreamingTests(SynchronousTestCase):
    """RPCs that return a stream of responses."""

    def setUp(self) -> None:
        self.servicer = StreamingServicer()
        self.dispatcher = Dispatcher(SameThread())  # type: ignore[arg-type]
        self.dispatcher.streams._threads.shutdown()
        self.dispatcher.streams._threads = SameThread()  # type: ignore[assignment]
        self.pools = ThreadPools(*(ThreadPoolExecutor(1) for _ in fields(ThreadPools)))
        service = pb.DESCRIPTOR.services_by_name["RuntimeService"]
        self.handler = generic_handler(service, "runtime.v1.RuntimeService", self.servicer, self.dispatcher, self.pools)

    def call(self, name: str, request: Any) -> tuple[StreamedCall, Any]:
        """Make the RPC; return it, and grpcio's handler of it."""

        @define
        class Details:
            method: str
            invocation_metadata: tuple[()] = ()

        method = self.handler.service(Details(f"/runtime.v1.RuntimeService/{name}"))
        call = StreamedCall()
        method.unary_stream(request, call, call.sent.append)
        return call, method

    def test_list_in_chunks(self) -> None:
        """The items of the unary response are sent in chunks of bounded size, in the threads of the unary RPC."""
        self.servicer.known = True
        containers = [pb.Container(id=str(number), labels={"big": "x" * 100_000}) for number in range(6)]
        self.servicer.items = pb.ListContainersResponse(containers=containers).SerializeToString()
        call, method = self.call("StreamContainers", pb.StreamContainersRequest())
        responses = [pb.StreamContainersResponse.FromString(sent) for sent in call.sent[:-1]]
        self.assertEqual(
            [[one.id for one in each.containers] for each in responses], [["0", "1"], ["2", "3"], ["4", "5"]]
        )
        self.assertEqual((call.sent[-1], call.code), (None, None))
        self.assertIs(method.unary_stream.experimental_thread_pool, self.pools.from_snapshot)

    def test_list_that_is_not_ready(self) -> None:
        """The thread waits once for the list, as for the unary one."""
        call, _ = self.call("StreamContainers", pb.StreamContainersRequest())
        self.assertEqual((self.servicer.known, call.sent), (True, [None]))

    def test_list_without_an_answer(self) -> None:
        """An error of the List RPC is the status of the stream."""
        self.dispatcher.closed = True
        call, _ = self.call("StreamContainers", pb.StreamContainersRequest())
        self.assertEqual((call.code, call.sent), (grpc.StatusCode.UNAVAILABLE, [None]))

    def test_subscription(self) -> None:
        """What the method's function receives is sent, until the RPC ends."""
        call, method = self.call("GetContainerEvents", pb.GetEventsRequest())
        [receive] = self.servicer.receivers
        receive(b"1")
        self.assertEqual(call.sent, [b"1"])
        call.end()
        self.assertEqual(self.servicer.receivers, [])
        self.assertIs(method.unary_stream.experimental_thread_pool, self.pools.immediate)

    def test_what_cannot_be_streamed(self) -> None:
        """A List RPC that runs on the reactor, or is not marked, is refused when the class is made."""

        async def serve(self: object, request: object) -> bytes:
            return b""

        self.assertRaises(TypeError, streamed, serve)
        self.assertRaises(TypeError, streamed, on_reactor()(serve))


class SameThread(Clock):
    """A reactor and a thread pool in one thread."""

    def callFromThread(self, run: Callable[..., object], *arguments: Any) -> None:
        run(*arguments)

    def submit(self, run: Callable[..., None], *arguments: Any) -> None:
        run(*arguments)


class StreamedCall:
    """A client's streaming RPC."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.callbacks: list[Callable[[], None]] = []
        self.code: grpc.StatusCode | None = None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return True

    def send_initial_metadata(self, metadata: tuple[()]) -> None:
        """Send the headers."""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        """Set the status's text."""

    def end(self) -> None:
        """The RPC ends."""
        for callback in self.callbacks:
            callback()
