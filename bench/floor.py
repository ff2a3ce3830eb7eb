"""A gRPC server that does nothing, in a process of its own: no server on grpcio can be faster.

``python -m bench.floor SOCKET`` serves every method with an empty answer.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

_METHOD = "/bench.Floor/Nothing"


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
    """Serves every method with an empty response."""

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        """Return the same handler for each method."""
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@contextmanager
def floor(socket: Path) -> Iterator[Any]:
    """Start such a server; yield a call to it and its process id: ``(call, pid)``."""
    server = subprocess.Popen([sys.executable, "-m", "bench.floor", str(socket)])
    try:
        with grpc.insecure_channel(f"unix://{socket}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            nothing = channel.unary_unary(_METHOD)
            yield (lambda: nothing(b"")), server.pid
    finally:
        server.terminate()
        server.wait()


def _serve(socket: str) -> None:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Everything()])
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    _serve(sys.argv[1])
