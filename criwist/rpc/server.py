"""The gRPC server: its socket, its thread pools, and the two versions of the API.

Kubelets up to 1.22 use ``runtime.v1alpha2``, a wire-compatible subset of ``runtime.v1``, so the same servicers serve
both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

# criwist starts plugins and helpers by fork and exec; gRPC's own fork handlers would stop its threads around each fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from attrs import define, field
from twisted.logger import Logger

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.metrics import NO_METRICS, IMetrics
from criwist.rpc.counted import counted
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.images import ImageService
from criwist.rpc.inherited_socket import inherited_socket
from criwist.rpc.runtime import RuntimeService
from criwist.rpc.serving import ThreadPools, generic_handler
from criwist.rpc.socket_file import SocketFile, add_port, make_way

#: Bytes of a message, both ways: the limit that a kubelet sets (its ``maxMsgSize``).
MAX_MESSAGE = 16 * 1024 * 1024
#: Threads that receive requests and run ``@immediate`` methods.
IMMEDIATE_THREADS = 4
#: Threads of ``@from_snapshot`` methods; they wait only while there is no fresh snapshot.
SNAPSHOT_THREADS = 12
#: Threads of ``@node_state`` methods; they wait only for the first check of the network.
NODE_STATE_THREADS = 2
#: Threads of ``@from_kernel`` methods; a kubelet has one or two such calls under way.
KERNEL_THREADS = 4
#: The socket is for root and its group.
SOCKET_MODE = 0o660
#: Seconds that responses on their way have at shutdown.
STOP_GRACE = 2.0

_UNIX = "unix://"
#: The socket that the service manager passes.
INHERITED = "fd://"


@define(eq=False)
class Server:
    """Serves the CRI on one endpoint."""

    endpoint: str
    _dispatcher: Dispatcher
    _runtime_service: Callable[[str], RuntimeService]
    _image_service: ImageService
    _metrics: IMetrics = NO_METRICS
    _server: grpc.Server | None = field(default=None, init=False)
    _pools: ThreadPools | None = field(default=None, init=False)
    #: The socket that this server made.
    _socket: SocketFile | None = field(default=None, init=False)
    _log = Logger()

    def start(self) -> str:
        """Bind and serve.  Return the address, with the port that the system chose if the endpoint's port is 0.

        :raises FailedPrecondition: the endpoint cannot be bound, or another process serves it.
        """
        pools = self._pools = ThreadPools(
            immediate=ThreadPoolExecutor(IMMEDIATE_THREADS, thread_name_prefix="criwist-immediate"),
            from_snapshot=ThreadPoolExecutor(SNAPSHOT_THREADS, thread_name_prefix="criwist-snapshot"),
            from_kernel=ThreadPoolExecutor(KERNEL_THREADS, thread_name_prefix="criwist-kernel"),
            node_state=ThreadPoolExecutor(NODE_STATE_THREADS, thread_name_prefix="criwist-node-state"),
        )
        server = grpc.server(
            pools.immediate,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                ("grpc.so_reuseport", 0),
            ],
        )
        services = pb.DESCRIPTOR.services_by_name
        for version in ("v1", "v1alpha2"):
            servicers = {"RuntimeService": self._runtime_service(version), "ImageService": self._image_service}
            for name, servicer in servicers.items():
                full_name = f"runtime.{version}.{name}"
                handler = generic_handler(services[name], full_name, servicer, self._dispatcher, pools)
                handler = counted(handler, self._metrics) if self._metrics is not NO_METRICS else handler
                server.add_generic_rpc_handlers([handler])
        address = self._bind(server)
        self._dispatcher.open()
        server.start()
        self._server = server
        return address

    def stop(self) -> Event:
        """Take no more RPCs, and answer those in progress UNAVAILABLE.  The event is set when all have ended."""
        self._dispatcher.close()
        server, self._server = self._server, None
        if server is None:
            done = Event()
            done.set()
            return done
        stopped: Event = server.stop(STOP_GRACE)
        if self._socket is not None:
            self._socket.unlink()
        return stopped

    def _bind(self, server: grpc.Server) -> str:
        if self.endpoint.startswith(_UNIX):
            path = self.endpoint.removeprefix(_UNIX)
            make_way(path)
            self._bind_path(server, path)
            return self.endpoint
        if self.endpoint == INHERITED:
            passed = inherited_socket(self._dispatcher.reactor)
            self._bind_path(server, passed.path)
            os.chown(passed.path, passed.owner, passed.group)
            os.chmod(passed.path, passed.mode)
            passed.retire()
            return _UNIX + passed.path
        address = self.endpoint.removeprefix("tcp://")
        port = add_port(server, address)
        return f"tcp://{address.rpartition(':')[0]}:{port}"

    def _bind_path(self, server: grpc.Server, path: str) -> None:
        self._socket = SocketFile(path, SOCKET_MODE)
        self._socket.listen(server)
