"""The gRPC server: its socket, its threads, its two names.

Kubelets up to 1.22 speak ``runtime.v1alpha2``, a wire-compatible subset of ``runtime.v1``, so the same behaviours
serve both names.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

# Plugins and helpers are started by fork and exec; gRPC's own fork handlers would stop its threads around each.
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
from criwist.rpc.serving import Pools, generic_handler

#: Bytes of a message, both ways: what a kubelet sets (its ``maxMsgSize``).
MAX_MESSAGE = 16 * 1024 * 1024
#: Threads that receive requests and answer from memory.
MEMORY_THREADS = 4
#: Threads that read the snapshot; they wait only while there is no fresh one.
READ_THREADS = 12
#: Threads that tell the node's state; they wait only for the first look at the network.
CONDITION_THREADS = 2
#: The socket is for root and its group.
SOCKET_MODE = 0o660
#: Seconds that answers on their way get at shutdown.
STOP_GRACE = 2.0

_UNIX = "unix://"
#: The socket that the service manager passes.
INHERITED = "fd://"


@define(eq=False)
class Server:
    """Serves the CRI on one endpoint."""

    endpoint: str
    _door: Dispatcher
    _runtime: Callable[[str], RuntimeService]
    _images: ImageService
    _server: grpc.Server | None = field(default=None, init=False)
    _pools: Pools | None = field(default=None, init=False)
    #: Path, device and inode of the socket we made.
    _socket: tuple[str, int, int] | None = field(default=None, init=False)
    _log = Logger()

    def start(self) -> str:
        """Bind and serve.  Returns the address, with the port that the system chose if 0 was asked for.

        :raises FailedPrecondition: the endpoint cannot be bound, or somebody serves it already.
        """
        pools = self._pools = Pools(
            immediate=ThreadPoolExecutor(MEMORY_THREADS, thread_name_prefix="criwist-rpc"),
            reads=ThreadPoolExecutor(READ_THREADS, thread_name_prefix="criwist-read"),
            states=ThreadPoolExecutor(CONDITION_THREADS, thread_name_prefix="criwist-condition"),
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
            for service, servicer in (
                ("RuntimeService", self._runtime(version)),
                ("ImageService", self._images),
            ):
                server.add_generic_rpc_handlers(
                    [
                        generic_handler(
                            services[service],
                            f"runtime.{version}.{service}",
                            servicer,
                            self._door,
                            pools,
                        )
                    ]
                )
        address = self._bind(server)
        self._door.open()
        server.start()
        self._server = server
        return address

    def stop(self) -> Event:
        """Take no more RPCs, answer those under way with UNAVAILABLE.  The event is set when all are gone."""
        self._door.close()
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
            passed = inherited_socket(self._door.reactor)
            self._bind_path(server, passed.path)
            os.chown(passed.path, passed.owner, passed.group)
            os.chmod(passed.path, passed.mode)
            passed.retire()
            return _UNIX + passed.path
        address = self.endpoint.removeprefix("tcp://")
        port = _add_port(server, address)
        return f"tcp://{address.rpartition(':')[0]}:{port}"

    def _bind_path(self, server: grpc.Server, path: str) -> None:
        """Listen at *path*.  gRPC removes a socket file that is there."""
        umask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            _add_port(server, f"unix:{path}")
        finally:
            os.umask(umask)
        os.chmod(path, SOCKET_MODE)
        facts = os.stat(path)
        self._socket = (path, facts.st_dev, facts.st_ino)

    def _unlink(self) -> None:
        """Remove the socket, unless it is another's by now."""
        if self._socket is None:
            return
        path, device, inode = self._socket
        with suppress(FileNotFoundError):
            facts = os.stat(path)
            if (facts.st_dev, facts.st_ino) == (device, inode):
                os.unlink(path)


def _add_port(server: grpc.Server, address: str) -> int:
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot listen on {address}: {error}") from error
    return port


def _refuse_live_socket(path: str) -> None:
    """gRPC replaces a socket file that is there, even one that somebody serves; a stale one may go."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise FailedPrecondition(f"{path} is there and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise FailedPrecondition(f"cannot tell whether {path} is served: {error}") from error
    raise FailedPrecondition(f"{path} is served by another process: two shims cannot share a socket")
