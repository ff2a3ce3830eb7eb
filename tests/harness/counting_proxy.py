"""A UNIX socket before the engine's that counts the requests which pass.

Bytes go through as they are.  Requests are told by their request lines at the start of what a client sends, which
holds for clients that do not pipeline; a connection that was upgraded is not looked into any more.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path

from tests.harness.clock import eventually, scaled

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE|HEAD) (/[^ ]*) HTTP/1\.1\r\n")
_SIZE = 256 * 1024


class CountingProxy:
    """Listens on *path* and connects to *target* for each client."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._lock = threading.Lock()
        self._requests: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """The address as ``--docker-endpoint`` spells it."""
        return f"unix://{self.path}"

    def requests(self) -> list[str]:
        """All requests so far: method and path."""
        with self._lock:
            return list(self._requests)

    def reset(self) -> None:
        """Forget them."""
        with self._lock:
            self._requests.clear()

    def settle(self) -> None:
        """Wait until no request has passed for half a second, and forget those before."""

        def quiet() -> bool:
            self.reset()
            time.sleep(scaled(0.5))
            return not self.requests()

        eventually(quiet, within=30, what="no request to pass")

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(str(self._target))
                except OSError:
                    client.close()
                    continue
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_SIZE):
                if counted and (match := _REQUEST.match(data)):
                    with self._lock:
                        self._requests.append(f"{match[1].decode()} {match[2].decode()}")
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
