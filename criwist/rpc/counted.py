"""Counts the RPCs of a gRPC handler, with their status and duration.

The duration begins when gRPC hands the request over, so it includes the wait for a thread, and ends with the response.
An RPC that ends without a response of ours, because its client cancelled it or has gone, counts as CANCELLED.  If the
client records a trace of the RPC, its id goes with the duration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from attrs import define, field

from criwist.interfaces.metrics import OK, IMetrics
from criwist.wire.trace_context import TRACEPARENT, recorded_trace


def counted(handler: grpc.GenericRpcHandler, metrics: IMetrics) -> grpc.GenericRpcHandler:
    """Return *handler*, whose RPCs are counted."""
    return _Counted(handler, metrics)


@define(eq=False)
class _Counted(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no annotations
    _handler: grpc.GenericRpcHandler
    _metrics: IMetrics

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return the method's handler for one RPC, which begins now."""
        method: Any = self._handler.service(handler_call_details)
        if method is None:
            return None
        name = handler_call_details.method.rpartition("/")[2]
        rpc = _Rpc(self._metrics, name, self._metrics.now(), _trace(handler_call_details.invocation_metadata))
        if method.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                _like(method.unary_unary, rpc.unary(method.unary_unary)),
                method.request_deserializer,
                method.response_serializer,
            )
        if not hasattr(method.unary_stream, "experimental_non_blocking"):
            return method
        return grpc.unary_stream_rpc_method_handler(
            _like(method.unary_stream, rpc.non_blocking(method.unary_stream)),
            method.request_deserializer,
            method.response_serializer,
        )


@define(eq=False)
class _Rpc:
    """One RPC."""

    _metrics: IMetrics
    _method: str
    _began: float
    _trace: str | None
    _answered: bool = field(default=False, init=False)

    def unary(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """Return a behaviour that returns its response or aborts, and is counted."""

        def behave(request: Any, context: Any) -> Any:
            try:
                response = behaviour(request, context)
            except BaseException:
                self._count(context.code())
                raise
            self._count(None)
            return response

        return behave

    def non_blocking(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """Return a behaviour that passes its response to a function, None at the end, and is counted."""

        def behave(request: Any, context: Any, send: Callable[[Any], None]) -> None:
            def pass_on(response: Any) -> None:
                if response is None:
                    self._answered = True
                    self._count(context.code())
                send(response)

            def ended() -> None:
                if not self._answered:
                    self._count(grpc.StatusCode.CANCELLED)

            if context.add_callback(ended):
                behaviour(request, context, pass_on)
            else:
                ended()

        return behave

    def _count(self, code: Any) -> None:
        name = code.name if isinstance(code, grpc.StatusCode) else OK
        self._metrics.cri_call(self._method, name, self._metrics.now() - self._began, self._trace)


def _trace(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """Return the id of the trace that the client records; gRPC leaves one traceparent of several."""
    for name, value in metadata or ():
        if name == TRACEPARENT and isinstance(value, str):
            return recorded_trace(value)
    return None


def _like(original: Any, behaviour: Any) -> Any:
    """Return *behaviour* with grpcio's marks of *original*: its thread pool, and that it does not block."""
    for name in ("experimental_thread_pool", "experimental_non_blocking"):
        if hasattr(original, name):
            setattr(behaviour, name, getattr(original, name))
    return behaviour
