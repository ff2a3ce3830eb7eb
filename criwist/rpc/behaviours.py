"""How an RPC is served, said where it is written.

A servicer has a method for each RPC it implements, marked with how it is to be served:

``@memory``
    answers at once from what is in memory, in the thread that received the request, whatever the engine does;
``@read``
    answers from the published snapshot in the same way, and waits for a fresh one if there is none;
``@condition``
    answers in the same way what state the node is in, in threads apart from those that wait for Docker;
``@errand`` and ``@errand(cancellable=True)``
    a coroutine that runs on the reactor (see ``rpc.door``).

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

from criwist.core.notyet import NotYet
from criwist.errors import InvalidArgument
from criwist.rpc.door import Door
from criwist.rpc.faults import status_of
from criwist.translate.requests import check_request

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_criwist_rpc"


@frozen
class _Mark:
    kind: str
    cancellable: bool = False


def memory(method: _F) -> _F:
    """Mark a method that answers from memory."""
    setattr(method, _MARK, _Mark("memory"))
    return method


def read(method: _F) -> _F:
    """Mark a method that answers from the snapshot, and raises ``NotYet`` if that is not fresh."""
    setattr(method, _MARK, _Mark("read"))
    return method


def condition(method: _F) -> _F:
    """Mark a method that tells the node's state, and raises ``NotYet`` while that is being found out."""
    setattr(method, _MARK, _Mark("condition"))
    return method


def errand(*, cancellable: bool = False) -> Callable[[_F], _F]:
    """Mark a coroutine method.

    :param cancellable: the end of the RPC ends it.  Leave it False for what must not stop half-way.
    """

    def mark(method: _F) -> _F:
        setattr(method, _MARK, _Mark("errand", cancellable))
        return method

    return mark


@frozen
class Pools:
    """Threads for what is answered where it is received.

    They are apart so that reads that wait for Docker keep nobody from hearing, in Status, that it is away, and a
    Status that waits for the network keeps no other request from being received.
    """

    memory: ThreadPoolExecutor
    reads: ThreadPoolExecutor
    conditions: ThreadPoolExecutor

    def of(self, kind: str) -> ThreadPoolExecutor:
        """The pool for methods with that mark."""
        return {"read": self.reads, "condition": self.conditions}.get(kind, self.memory)


def generic_handler(
    service: ServiceDescriptor,
    name: str,
    servicer: object,
    door: Door,
    pools: Pools,
) -> grpc.GenericRpcHandler:
    """The handler that serves *service* under *name* with the methods of *servicer*."""
    handlers: Mapping[str, grpc.RpcMethodHandler] = {
        method.name: _method_handler(method, servicer, door, pools) for method in service.methods
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _method_handler(method: MethodDescriptor, servicer: object, door: Door, pools: Pools) -> grpc.RpcMethodHandler:
    serve = getattr(servicer, method.name, None)
    mark: _Mark | None = getattr(serve, _MARK, None)
    parse = GetMessageClass(method.input_type).FromString
    if serve is None or mark is None:
        return grpc.unary_unary_rpc_method_handler(_in_pool(_unimplemented(method.name), pools.memory))
    if mark.kind == "errand":

        async def run(request: Message) -> Any:
            check_request(request)
            return await serve(request)

        behaviour = door.behaviour(method.name, run, cancellable=mark.cancellable)
        return grpc.unary_stream_rpc_method_handler(
            _in_pool(behaviour, pools.memory), request_deserializer=parse, response_serializer=_serialized
        )
    answer = _in_pool(_answering(method.name, serve, door), pools.of(mark.kind))
    return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=parse, response_serializer=_serialized)


def _answering(name: str, serve: Callable[[Any], Any], door: Door) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer(request: Message, context: grpc.ServicerContext) -> Any:
        try:
            check_request(request)
            try:
                return serve(request)
            except NotYet as unknown:
                door.wait(unknown.until, unknown.within, name)
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
