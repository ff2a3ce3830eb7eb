"""The ways to serve an RPC, marked at the RPC's method.

A servicer has a method for each RPC that it implements.  A decorator at the method names the thread that runs it:

``@immediate``
    The method answers at once from memory, in the thread pool that receives requests (``criwist-immediate``).
``@from_snapshot``
    The method answers from the published snapshot, in a thread pool of its own (``criwist-snapshot``).  While there is
    no fresh snapshot, the thread waits for one.
``@from_kernel``
    The method answers from cgroup files and ``/proc``, for what the published snapshot names, in a thread pool of its
    own (``criwist-kernel``).  While there is no fresh snapshot, the thread waits for one.
``@node_state``
    The method answers from memory with the node's state, in a thread pool of its own (``criwist-node-state``), so that
    reads waiting for Docker cannot delay it.
``@on_reactor()`` and ``@on_reactor(cancellable=True)``
    The method is a coroutine.  It runs on the reactor, and no thread waits for it (see ``rpc.dispatch``).  A thread of
    ``criwist-send`` sends its response.

An RPC that returns a stream of responses (see ``rpc.response_streams``) is marked in one of two ways:

``StreamContainers = streamed(ListContainers)``
    The stream has the items of a List RPC, which is marked itself, in chunks.
``@subscription``
    The method subscribes to something.  It runs on the reactor, at once.

The first four run outside the reactor's thread.  They read immutable values that the reactor has published, and change
nothing: no Docker call, no lock that the reactor holds, no file access; ``@from_kernel`` reads the kernel's own files.
Only :meth:`.Dispatcher.wait` blocks one of their threads; it has a time limit and ends at shutdown.

:func:`generic_handler` makes a grpcio handler of such a servicer.  An RPC of the service without a method returns
UNIMPLEMENTED, after which a kubelet falls back.
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
from criwist.rpc.response_streams import CHUNK, ResponseStream
from criwist.rpc.status_codes import status_of
from criwist.translate.request_rules import check_request
from criwist.wire.protobuf import chunks

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_criwist_rpc"


@frozen
class _Mark:
    kind: str
    cancellable: bool = False
    #: The way in which the List RPC of a ``streamed`` one is served.
    unary: _Mark | None = None


def immediate(method: _F) -> _F:
    """Mark a method that answers at once from memory, whatever state the engine is in.

    The method runs in a thread of ``criwist-immediate``; the same threads receive every request.  It must not block
    at all: no file access, no Docker call, no lock that the reactor holds, no ``NotReady``.
    """
    setattr(method, _MARK, _Mark("immediate"))
    return method


def from_snapshot(method: _F) -> _F:
    """Mark a method that answers from the snapshot, and raises ``NotReady`` if the snapshot is not fresh.

    The method runs in a thread of ``criwist-snapshot``.  After ``NotReady`` the thread waits, for ``within`` seconds at
    most, and calls the method once more.  The method makes no file access and no Docker call, and takes no lock that
    the reactor holds.  The rare read that needs the reactor uses :meth:`.Dispatcher.wait`.
    """
    setattr(method, _MARK, _Mark("from_snapshot"))
    return method


def from_kernel(method: _F) -> _F:
    """Mark a method that answers from the kernel's files, and raises ``NotReady`` if the snapshot is not fresh.

    The method runs in a thread of ``criwist-kernel``.  These threads are apart from those that answer from memory: on a
    node with many cgroups the kernel may take some milliseconds for a file.  After ``NotReady`` the thread waits, for
    ``within`` seconds at most, and calls the method once more.  The method reads cgroup files and ``/proc``, which wait
    for no disk, and makes no other file access and no Docker call, and takes no lock that the reactor holds for long.
    """
    setattr(method, _MARK, _Mark("from_kernel"))
    return method


def node_state(method: _F) -> _F:
    """Mark a method that answers with the node's state, and raises ``NotReady`` until the state is known.

    The method runs in a thread of ``criwist-node-state``.  These threads are apart from those that wait for Docker,
    because Status reports that Docker is away.  After ``NotReady`` the thread waits, for ``within`` seconds at most,
    and calls the method once more.  The method makes no file access and no Docker call, and takes no lock that the
    reactor holds.
    """
    setattr(method, _MARK, _Mark("node_state"))
    return method


def on_reactor(*, cancellable: bool = False) -> Callable[[_F], _F]:
    """Mark a coroutine method that runs on the reactor's thread.

    The coroutine may await the engine, plugins and locks.  It must not block the thread: it makes long system calls
    through the reactor's thread pool.

    :param cancellable: the end of the RPC cancels the coroutine.  Leave it False for an operation that must not stop
        half-way.
    """

    def mark(method: _F) -> _F:
        setattr(method, _MARK, _Mark("on_reactor", cancellable))
        return method

    return mark


def streamed(unary: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the method of a streaming RPC that has the items of a List RPC.

    Requests and responses of the two RPCs agree field by field, and a List response has its items in field 1 and no
    other field.  The items of one response, that is of one snapshot, are sent in chunks of bounded size.

    :param unary: the marked method of the List RPC, which the class has above.
    :raises TypeError: it is not marked, or runs on the reactor.
    """
    mark: _Mark | None = getattr(unary, _MARK, None)
    if mark is None or mark.kind == "on_reactor":
        raise TypeError(f"{unary.__name__} cannot be streamed: it does not answer in a thread of its own")

    def stream(self: Any, request: Any) -> Any:
        return unary(self, request)

    setattr(stream, _MARK, _Mark("streamed", unary=mark))
    return stream


def subscription(method: _F) -> _F:
    """Mark a method that subscribes its second argument, a function of one serialized response.

    The method runs on the reactor, and returns a function that ends the subscription.  The function that it subscribes
    may be called on the reactor's thread at any time, does not block and does not raise.
    """
    setattr(method, _MARK, _Mark("subscription"))
    return method


@frozen
class ThreadPools:
    """The thread pools of the methods that do not run on the reactor, by their decorators.

    They are apart so that a Status, which reports that Docker is away, does not wait behind reads that wait for Docker,
    and that a Status that waits for the network does not delay the receiving of other requests.
    """

    immediate: ThreadPoolExecutor
    from_snapshot: ThreadPoolExecutor
    node_state: ThreadPoolExecutor
    from_kernel: ThreadPoolExecutor

    def of(self, kind: str) -> ThreadPoolExecutor:
        """Return the pool of the methods with that mark."""
        pools = {
            "from_snapshot": self.from_snapshot,
            "node_state": self.node_state,
            "from_kernel": self.from_kernel,
        }
        return pools.get(kind, self.immediate)


def generic_handler(
    service: ServiceDescriptor,
    name: str,
    servicer: object,
    dispatcher: Dispatcher,
    pools: ThreadPools,
) -> grpc.GenericRpcHandler:
    """Return the handler that serves *service* under *name* with the methods of *servicer*."""
    handlers: Mapping[str, grpc.RpcMethodHandler] = {
        method.name: _method_handler(method, servicer, dispatcher, pools) for method in service.methods
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def _method_handler(
    method: MethodDescriptor, servicer: object, dispatcher: Dispatcher, pools: ThreadPools
) -> grpc.RpcMethodHandler:
    serve = getattr(servicer, method.name, None)
    mark: _Mark | None = getattr(serve, _MARK, None)
    parse = GetMessageClass(method.input_type).FromString
    if serve is None or mark is None:
        return grpc.unary_unary_rpc_method_handler(_in_pool(_unimplemented(method.name), pools.immediate))
    if mark.kind == "subscription" or mark.unary is not None:
        behaviour = _streaming_behaviour(method.name, serve, mark, dispatcher)
        pool = pools.immediate if mark.unary is None else pools.of(mark.unary.kind)
        return grpc.unary_stream_rpc_method_handler(
            _in_pool(behaviour, pool), request_deserializer=parse, response_serializer=_serialized
        )
    if mark.kind == "on_reactor":

        async def run(request: Message) -> Any:
            check_request(request)
            return await serve(request)

        behaviour = dispatcher.behaviour(method.name, run, cancellable=mark.cancellable)
        return grpc.unary_stream_rpc_method_handler(
            _in_pool(behaviour, pools.immediate), request_deserializer=parse, response_serializer=_serialized
        )
    behaviour = _in_pool(_direct_behaviour(method.name, serve, dispatcher), pools.of(mark.kind))
    return grpc.unary_unary_rpc_method_handler(behaviour, request_deserializer=parse, response_serializer=_serialized)


def _direct_behaviour(
    name: str, serve: Callable[[Any], Any], dispatcher: Dispatcher
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def behave(request: Message, context: grpc.ServicerContext) -> Any:
        try:
            return _answer(name, serve, request, dispatcher)
        except Exception as error:  # noqa: BLE001 - status_of logs every error that has no row in its table
            code, details = status_of(error, name)
        return context.abort(code, details)

    return behave


def _answer(name: str, serve: Callable[[Any], Any], request: Message, dispatcher: Dispatcher) -> Any:
    """Return the response of a method that does not run on the reactor; wait once if it is not ready."""
    check_request(request)
    try:
        return serve(request)
    except NotReady as not_ready:
        dispatcher.wait(not_ready.until, not_ready.within, name)
        return serve(request)


def _streaming_behaviour(
    name: str, serve: Callable[..., Any], mark: _Mark, dispatcher: Dispatcher
) -> Callable[[Any, grpc.ServicerContext, Callable[[Any], None]], None]:
    """Return a non-blocking grpcio behaviour that hands a stream of responses over to the reactor."""

    def subscribe(request: Message, stream: ResponseStream) -> None:
        check_request(request)
        dispatcher.reactor.callFromThread(stream.follow, lambda offer: serve(request, offer))

    def send_list(request: Message, stream: ResponseStream) -> None:
        response = _serialized(_answer(name, serve, request, dispatcher))
        dispatcher.reactor.callFromThread(stream.send_all, list(chunks(1, response, CHUNK)))

    def behave(request: Message, context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
        stream = dispatcher.streams.accept(name, context, send)
        if stream is None:
            return
        try:
            (subscribe if mark.unary is None else send_list)(request, stream)
        except Exception as error:  # noqa: BLE001 - status_of logs every error that has no row in its table
            dispatcher.reactor.callFromThread(stream.fail, error)

    behave.experimental_non_blocking = True  # type: ignore[attr-defined] # grpcio's name for it
    return behave


def _unimplemented(name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, f"criwist does not implement {name}")

    return refuse


def _in_pool(behaviour: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpcio's name for it
    return behaviour


def _serialized(response: Any) -> bytes:
    """Return a response as bytes; the cache keeps some in serialized form already."""
    if isinstance(response, bytes):
        return response
    if isinstance(response, Message):
        serialized: bytes = response.SerializeToString()
        return serialized
    raise InvalidArgument("response", f"cannot serialize {type(response).__name__}")
