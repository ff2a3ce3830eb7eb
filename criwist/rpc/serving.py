"""How an RPC is served, said where it is written.

A servicer has a method for each RPC it implements, marked with how it is to be served:

``@immediate``
    answers at once from what is in memory, in the thread that received the request, whatever the engine does;
``@from_snapshot``
    answers from the published snapshot in the same way, and waits for a fresh one if there is none;
``@node_state``
    answers in the same way what state the node is in, in threads apart from those that wait for Docker;
``@on_reactor()`` and ``@on_reactor(cancellable=True)``
    a coroutine that runs on the reactor (see ``rpc.dispatch``).

:func:`generic_handler` makes a grpcio handler of such a servicer.  An RPC of the service without a method is
answered UNIMPLEMENTED, on which a kubelet falls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from attrs import frozen
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from criwist.core.state.not_ready import NotReady
from criwist.errors import InvalidArgument
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.status_codes import status_of
from criwist.translate.request_rules import check_request

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_criwist_rpc"


@frozen
class _Mark:
    kind: str
    cancellable: bool = False


def immediate(method: _F) -> _F:
    """Mark a method that answers from memory."""
    setattr(method, _MARK, _Mark("immediate"))
    return method


def from_snapshot(method: _F) -> _F:
    """Mark a method that answers from the snapshot, and raises ``NotReady`` if that is not fresh."""
    setattr(method, _MARK, _Mark("from_snapshot"))
    return method


def node_state(method: _F) -> _F:
    """Mark a method that tells the node's state, and raises ``NotReady`` while that is being found out."""
    setattr(method, _MARK, _Mark("node_state"))
    return method


def on_reactor(*, cancellable: bool = False) -> Callable[[_F], _F]:
    """Mark a coroutine method.

    :param cancellable: the end of the RPC ends it.  Leave it False for what must not stop half-way.
    """

    def mark(method: _F) -> _F:
        setattr(method, _MARK, _Mark("on_reactor", cancellable))
        return method

    return mark


@frozen
class Pools:
    """Threads for what is answered where it is received.

    They are apart so that reads that wait for Docker keep nobody from hearing, in Status, that it is away, and a
    Status that waits for the network keeps no other request from being received.
    """

    immediate: ThreadPoolExecutor
    reads: ThreadPoolExecutor
    states: ThreadPoolExecutor

    def of(self, kind: str) -> ThreadPoolExecutor:
        """The pool for methods with that mark."""
        return {"from_snapshot": self.reads, "node_state": self.states}.get(kind, self.immediate)


def generic_handler(
    service: ServiceDescriptor,
    name: str,
    servicer: object,
    dispatcher: Dispatcher,
    pools: Pools,
) -> grpc.GenericRpcHandler:
    """The handler that serves *service* under *name* with the methods of *servicer*."""
    handlers: Mapping[str, grpc.RpcMethodHandler] = {
        method.name: _method_handler(method, servicer, dispatcher, pools) for method in service.methods
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _method_handler(
    method: MethodDescriptor, servicer: object, dispatcher: Dispatcher, pools: Pools
) -> grpc.RpcMethodHandler:
    serve = getattr(servicer, method.name, None)
    mark: _Mark | None = getattr(serve, _MARK, None)
    parse = GetMessageClass(method.input_type).FromString
    if serve is None or mark is None:
        return grpc.unary_unary_rpc_method_handler(_in_pool(_unimplemented(method.name), pools.immediate))
    if mark.kind == "on_reactor":

        async def run(request: Message) -> Any:
            check_request(request)
            return await serve(request)

        behaviour = dispatcher.behaviour(method.name, run, cancellable=mark.cancellable)
        return grpc.unary_stream_rpc_method_handler(
            _in_pool(behaviour, pools.immediate), request_deserializer=parse, response_serializer=_serialized
        )
    answer = _in_pool(_answering(method.name, serve, dispatcher), pools.of(mark.kind))
    return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=parse, response_serializer=_serialized)


def _answering(
    name: str, serve: Callable[[Any], Any], dispatcher: Dispatcher
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer(request: Message, context: grpc.ServicerContext) -> Any:
        try:
            check_request(request)
            try:
                return serve(request)
            except NotReady as unknown:
                dispatcher.wait(unknown.until, unknown.within, name)
                return serve(request)
        except Exception as error:  # noqa: BLE001 - the table names what it is, and logs what is none of ours
            code, details = status_of(error, name)
        return context.abort(code, details)

    return answer


def _unimplemented(name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, f"criwist does not implement {name}")

    return refuse


def _in_pool(behaviour: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpcio's name for it
    return behaviour


def _serialized(response: Any) -> bytes:
    """Answers that are kept in serialized form are bytes already."""
    if isinstance(response, bytes):
        return response
    if isinstance(response, Message):
        serialized: bytes = response.SerializeToString()
        return serialized
    raise InvalidArgument("response", f"cannot serialize {type(response).__name__}")
