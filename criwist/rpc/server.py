"""The gRPC server: its socket, its thread pools, and the two versions of the API.

Kubelets up to 1.22 use ``runtime.v1alpha2``, a wire-compatible subset of ``runtime.v1``, so the same servicers serve
both.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

# criwist starts plugins and helpers by fork and exec; gRPC's own fork handlers would stop its threads around each fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from attrs import define, field
from twisted.logger import Logger

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition
from criwist.rpc.dispatch import Dispatcher
from criwist.rpc.images import ImageService
from criwist.rpc.inherited_socket import inherited_socket
from criwist.rpc.runtime import RuntimeService
from criwist.rpc.serving import ThreadPools, generic_handler

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
    _server: grpc.Server | None = field(default=None, init=False)
    _pools: ThreadPools | None = field(default=None, init=False)
    #: Path, device and inode of the socket that this server made.
    _socket: tuple[str, int, int] | None = field(default=None, init=False)
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
        self._unlink()
        return stopped

    def _bind(self, server: grpc.Server) -> str:
        if self.endpoint.startswith(_UNIX):
            path = self.endpoint.removeprefix(_UNIX)
            _refuse_live_socket(path)
            os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
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
        port = _add_port(server, address)
        return f"tcp://{address.rpartition(':')[0]}:{port}"

    def _bind_path(self, server: grpc.Server, path: str) -> None:
        """Listen at *path*.  gRPC removes a socket file that already exists there."""
        umask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            _add_port(server, f"unix:{path}")
        finally:
            os.umask(umask)
        os.chmod(path, SOCKET_MODE)
        status = os.stat(path)
        self._socket = (path, status.st_dev, status.st_ino)

    def _unlink(self) -> None:
        """Remove the socket file, unless another server has replaced it."""
        if self._socket is None:
            return
        path, device, inode = self._socket
        with suppress(FileNotFoundError):
            status = os.stat(path)
            if (status.st_dev, status.st_ino) == (device, inode):
                os.unlink(path)


def _add_port(server: grpc.Server, address: str) -> int:
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot listen on {address}: {error}") from error
    return port


def _refuse_live_socket(path: str) -> None:
    """Raise if a process serves the socket at *path*: gRPC would replace the file all the same.  A stale one may go."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FailedPrecondition(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise FailedPrecondition(f"cannot check whether another process serves {path}: {error}") from error
    raise FailedPrecondition(f"another process serves {path}: two shims cannot share a socket")
