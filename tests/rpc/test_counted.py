"""RPCs are counted once, with their status, whatever ends them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from attrs import define, field

from criwist.interfaces.metrics import NoMetrics
from criwist.rpc.counted import counted

#: Names and values that a client sends beside its request; names that end with -bin have bytes.
Metadata = tuple[tuple[str, str | bytes], ...]
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class CountingMetrics(NoMetrics):
    """Records the RPCs; each reading of the time is a second later."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, float]] = []
        self.traces: list[str | None] = []
        self.time = 0.0

    def now(self) -> float:
        self.time += 1
        return self.time

    def cri_call(self, method: str, code: str, seconds: float, trace: str | None = None) -> None:
        self.calls.append((method, code, seconds))
        self.traces.append(trace)


@define
class Context:
    """A servicer context."""

    status: grpc.StatusCode | None = None
    active: bool = True
    callbacks: list[Callable[[], None]] = field(factory=list)

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.status = code
        raise RuntimeError(details)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return self.active


@define
class Details:
    """What grpcio knows of an RPC before its request."""

    method: str
    invocation_metadata: Metadata | None = ()


def handler(metrics: CountingMetrics, method: grpc.RpcMethodHandler, metadata: Metadata | None = ()) -> Any:
    """Return the counted handler of one RPC of *method*, which is called Get, with the client's *metadata*."""
    service = grpc.method_handlers_generic_handler("a.Service", {"Get": method})
    return counted(service, metrics).service(Details("/a.Service/Get", metadata))


def test_response() -> None:
    """A response counts as OK, and the behaviour keeps its thread pool."""
    pool = ThreadPoolExecutor(1)

    def behave(request: bytes, context: Context) -> bytes:
        return request * 2

    behave.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpcio's name for it
    metrics = CountingMetrics()
    served = handler(metrics, grpc.unary_unary_rpc_method_handler(behave))
    assert served.unary_unary.experimental_thread_pool is pool
    assert served.unary_unary(b"a", Context()) == b"aa"
    assert metrics.calls == [("Get", "OK", 1.0)]


def test_abort() -> None:
    """An abort counts with its code, and is raised."""

    def behave(request: bytes, context: Context) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "no")

    metrics = CountingMetrics()
    served = handler(metrics, grpc.unary_unary_rpc_method_handler(behave))
    with pytest.raises(RuntimeError):
        served.unary_unary(b"", Context())
    assert metrics.calls == [("Get", "NOT_FOUND", 1.0)]


def _later(respond: Callable[[Context, Callable[[Any], None]], None]) -> grpc.RpcMethodHandler:
    def behave(request: bytes, context: Context, send: Callable[[Any], None]) -> None:
        respond(context, send)

    behave.experimental_non_blocking = True  # type: ignore[attr-defined] # grpcio's name for it
    return grpc.unary_stream_rpc_method_handler(behave)


def test_later_response() -> None:
    """An RPC on the reactor counts when its response is sent; its end afterwards does not count again."""

    def respond(context: Context, send: Callable[[Any], None]) -> None:
        send(b"a")
        send(None)

    sent: list[object] = []
    metrics, context = CountingMetrics(), Context()
    served = handler(metrics, _later(respond))
    assert served.unary_stream.experimental_non_blocking
    served.unary_stream(b"", context, sent.append)
    for callback in context.callbacks:
        callback()
    assert (sent, metrics.calls) == ([b"a", None], [("Get", "OK", 1.0)])


def test_later_error() -> None:
    """An error counts with its code."""

    def respond(context: Context, send: Callable[[Any], None]) -> None:
        context.status = grpc.StatusCode.INTERNAL
        send(None)

    metrics = CountingMetrics()
    handler(metrics, _later(respond)).unary_stream(b"", Context(), [].append)
    assert metrics.calls == [("Get", "INTERNAL", 1.0)]


def test_client_that_goes_away() -> None:
    """An RPC that ends before its response counts as CANCELLED, also one that has ended before it began."""
    metrics, context = CountingMetrics(), Context()
    handler(metrics, _later(lambda context, send: None)).unary_stream(b"", context, [].append)
    assert metrics.calls == []
    context.callbacks[0]()
    handler(metrics, _later(lambda context, send: None)).unary_stream(b"", Context(active=False), [].append)
    assert [code for _, code, _ in metrics.calls] == ["CANCELLED", "CANCELLED"]


def test_unknown_method() -> None:
    """A method that does not exist is not counted: clients choose its name."""
    metrics = CountingMetrics()
    service = grpc.method_handlers_generic_handler("a.Service", {})
    assert counted(service, metrics).service(Details("/a.Service/Other")) is None
    assert metrics.calls == []


@pytest.mark.parametrize(
    ("metadata", "trace"),
    [
        ((("user-agent", "kubelet"), ("traceparent", TRACEPARENT), ("tracestate", "a=b")), TRACE),
        ((), None),
        (None, None),
        ((("traceparent", TRACEPARENT[:-1] + "0"),), None),
        ((("traceparent", "00-what"),), None),
        ((("traceparent", TRACEPARENT.encode()),), None),
        ((("traceparent-bin", b"\xff"), ("tracestate", TRACEPARENT)), None),
    ],
)
def test_trace(metadata: Metadata | None, trace: str | None) -> None:
    """The id of the client's recorded trace goes with each count, whatever ends the RPC; other headers are no trace."""
    metrics = CountingMetrics()
    handler(metrics, grpc.unary_unary_rpc_method_handler(lambda request, context: b""), metadata).unary_unary(
        b"", Context()
    )
    later, context = handler(metrics, _later(lambda context, send: None), metadata), Context()
    later.unary_stream(b"", context, [].append)
    context.callbacks[0]()
    assert [code for _, code, _ in metrics.calls] == ["OK", "CANCELLED"]
    assert metrics.traces == [trace, trace]
