"""The file of a UNIX socket on which gRPC listens.

gRPC replaces whatever socket file exists at the path, and leaves its own behind.  So this module looks first whether
another process serves there, sets the mode, and removes the file at the end unless another server has replaced it.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

import grpc
from attrs import define, field

from criwist.errors import FailedPrecondition


@define(eq=False)
class SocketFile:
    """A socket file of *mode* at *path*."""

    path: str
    mode: int
    #: Device and inode of the file that was made.
    _made: tuple[int, int] | None = field(default=None, init=False)

    def listen(self, server: grpc.Server) -> None:
        """Have *server* listen at the path.  gRPC removes a socket file that already exists there.

        :raises FailedPrecondition: it cannot.
        """
        umask = os.umask(0o777 & ~self.mode)
        try:
            add_port(server, f"unix:{self.path}")
        finally:
            os.umask(umask)
        os.chmod(self.path, self.mode)
        status = os.stat(self.path)
        self._made = (status.st_dev, status.st_ino)

    def unlink(self) -> None:
        """Remove the file, unless another server has replaced it.  Idempotent."""
        made, self._made = self._made, None
        if made is None:
            return
        with suppress(FileNotFoundError):
            status = os.stat(self.path)
            if (status.st_dev, status.st_ino) == made:
                os.unlink(self.path)


def add_port(server: grpc.Server, address: str) -> int:
    """Have *server* listen on *address*; return the port.

    :raises FailedPrecondition: it cannot.
    """
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise FailedPrecondition(f"cannot listen on {address}: {error}") from error
    return port


def make_way(path: str) -> None:
    """Make the directory of a socket at *path*.  A stale socket file may stay there: gRPC replaces it.

    :raises FailedPrecondition: another process serves the socket, or the path is something else.
    """
    _refuse_live_socket(path)
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)


def _refuse_live_socket(path: str) -> None:
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
