"""The part of containerd's API from which kubelet's built-in cAdvisor learns the labels of Docker's containers.

cAdvisor watches the node's cgroups.  Without a runtime that it knows it cannot name what is in them; so on a Docker
node ``/metrics/cadvisor`` has no pod, no container, no image and no pod's network.  It knows containerd, by three
methods (``wire.containerd``), and kubelet takes the socket's path by ``--containerd``.  This module serves these
methods, on a socket of its own:

* from the published snapshot.  Docker is never asked.
* only reading, and only for root: the socket has mode 0600.
* for a container from its creation on.  cAdvisor asks once about a cgroup, and takes NOT_FOUND for good.  So a request
  for an unknown id waits while the snapshot is not fresh, or that id is being inspected for the first time.
* in threads of its own, so that waiting requests delay no RPC of the CRI.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, Final

import grpc
from attrs import define, field
from twisted.logger import Logger

from criwist import __version__, errors
from criwist.core.state.cache import FRESH_WITHIN, Cache, Entry, Snapshot
from criwist.core.state.entries import ContainerEntry
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.socket_file import SocketFile, make_way
from criwist.rpc.status_codes import status_of
from criwist.wire import containerd

#: The socket is for root: kubelet.
SOCKET_MODE: Final = 0o600
#: Threads that answer.  cAdvisor asks about one container after the other, but about new ones side by side.
THREADS: Final = 4
#: Bytes of a request: an id is 64.
MAX_REQUEST: Final = 4096
#: Seconds that answers on their way have at shutdown.
STOP_GRACE: Final = 1.0

_POD_NAME: Final = "io.kubernetes.pod.name"
_POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
_POD_UID: Final = "io.kubernetes.pod.uid"
_CONTAINER_NAME: Final = "io.kubernetes.container.name"


@define(eq=False)
class CadvisorService:
    """The three methods: from serialized requests to serialized responses.  They run in any thread but the reactor's.

    :param dispatcher: waits for the reactor.
    """

    _cache: Cache
    _dispatcher: Dispatcher

    def version(self, request: bytes) -> bytes:
        """Answer Version/Version with criwist's version."""
        return containerd.version_response(f"criwist-{__version__}")

    def container(self, request: bytes) -> bytes:
        """Answer Containers/Get with the labels, the image and the OCI runtime.

        :raises NotFound: no pod of the node has this container.
        :raises Unavailable: it is not known, and Docker is away.
        """
        entry = self._entry(request)
        return containerd.container_response(
            entry.id, _labels(entry), image=entry.image, runtime=_runtime(self._cache.snapshot, entry)
        )

    def task(self, request: bytes) -> bytes:
        """Answer Tasks/Get with the pid of a running container; cAdvisor asks again after NotFound.

        :raises NotFound: no pod of the node has this container, or it does not run.
        :raises Unavailable: it is not known, and Docker is away.
        """
        entry = self._entry(request)
        if not entry.pid:
            raise errors.NotFound("task", entry.id)
        return containerd.task_response(entry.id, entry.pid)

    def _entry(self, request: bytes) -> Entry:
        try:
            identifier = containerd.requested_id(request)
        except ValueError as error:
            raise errors.InvalidArgument("id", str(error)) from error
        found = self._find(identifier)
        if found is None:
            self._dispatcher.wait(partial(self._cache.known, identifier), FRESH_WITHIN, f"looking for {identifier!r}")
            found = self._find(identifier)
        if found is None:
            raise errors.NotFound("container", identifier)
        return found

    def _find(self, identifier: str) -> Entry | None:
        snapshot = self._cache.snapshot
        return snapshot.containers.get(identifier) or snapshot.sandboxes.get(identifier)


def _labels(entry: Entry) -> dict[str, str]:
    """Return the labels that cAdvisor in kubelet reads.  A sandbox has no container name."""
    name = entry.name
    pod = {_POD_NAME: name.pod, _POD_NAMESPACE: name.namespace, _POD_UID: name.uid}
    if isinstance(entry, ContainerEntry):
        return pod | {containerd.KIND: containerd.CONTAINER, _CONTAINER_NAME: name.container}
    return pod | {containerd.KIND: containerd.SANDBOX}


def _runtime(snapshot: Snapshot, entry: Entry) -> str:
    """Return the engine's name of the pod's OCI runtime; ``""`` if its sandbox is gone."""
    sandbox = snapshot.sandboxes.get(entry.sandbox_id) if isinstance(entry, ContainerEntry) else entry
    return sandbox.runtime if sandbox is not None else ""


@define(eq=False)
class CadvisorServer:
    """Serves :class:`CadvisorService` on a UNIX socket."""

    _path: str
    _service: CadvisorService
    _server: grpc.Server | None = field(default=None, init=False)
    _socket: SocketFile = field(init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._socket = SocketFile(self._path, SOCKET_MODE)

    def start(self) -> None:
        """Bind and serve.

        :raises FailedPrecondition: the path cannot be bound, or another process serves it.
        """
        make_way(self._path)
        server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="criwist-cadvisor"),
            handlers=handlers(self._service),
            options=[("grpc.max_receive_message_length", MAX_REQUEST), ("grpc.so_reuseport", 0)],
        )
        self._socket.listen(server)
        server.start()
        self._server = server
        self._log.info("cAdvisor can ask on {path}; give kubelet --containerd={path}", path=self._path)

    def stop(self) -> Event:
        """Take no more requests, and remove the socket file.  The event is set when those in progress have ended."""
        server, self._server = self._server, None
        if server is None:
            done = Event()
            done.set()
            return done
        stopped: Event = server.stop(STOP_GRACE)
        self._socket.unlink()
        return stopped


def handlers(service: CadvisorService) -> list[grpc.GenericRpcHandler]:
    """Return grpcio's handlers of the three methods; every other method is UNIMPLEMENTED."""
    methods = {
        containerd.VERSION_SERVICE: ("Version", service.version, False),
        containerd.CONTAINERS_SERVICE: ("Get", service.container, True),
        containerd.TASKS_SERVICE: ("Get", service.task, True),
    }
    return [
        grpc.method_handlers_generic_handler(
            name, {method: grpc.unary_unary_rpc_method_handler(_behaviour(serve, namespaced=namespaced))}
        )
        for name, (method, serve, namespaced) in methods.items()
    ]


def _behaviour(
    serve: Callable[[bytes], bytes], *, namespaced: bool
) -> Callable[[bytes, grpc.ServicerContext], bytes | None]:
    """Return a grpcio behaviour; a *namespaced* method knows Kubernetes' namespace only."""

    def behave(request: bytes, context: grpc.ServicerContext) -> bytes | None:
        try:
            if namespaced:
                _check_namespace(context)
            return serve(request)
        except Exception as error:  # noqa: BLE001 - status_of logs every error that has no row in its table
            code, details = status_of(error, serve.__name__)
        context.abort(code, details)
        return None  # not reached: abort raises

    return behave


def _check_namespace(context: grpc.ServicerContext) -> None:
    metadata: Any = context.invocation_metadata()
    named = [value for key, value in metadata if key == containerd.NAMESPACE_KEY]
    if named != [containerd.NAMESPACE]:
        raise errors.NotFound("namespace", ", ".join(map(str, named)))
