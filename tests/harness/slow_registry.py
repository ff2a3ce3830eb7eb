"""A registry with bad manners: it serves one image, and stalls, trickles or never answers as a test wants it.

Only as much of the distribution API as a pull needs.  Every request is remembered.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.harness.images import architecture

#: Called with the body of a layer; yields control of how it is sent by writing to the second argument.
Sender = Callable[[bytes, Callable[[bytes], object]], None]


class SlowRegistry:
    """Serves ``<host>/<any repository>:<any tag>``: an image of one layer of *size* incompressible bytes.

    :param silent: never answer any request.
    :param send: how the layer's bytes are sent; it is called in a thread of its own.
    """

    def __init__(
        self, *, silent: bool = False, send: Sender | None = None, size: int = 1 << 20, marker: str = ""
    ) -> None:
        self.requests: list[str] = []
        self._silent = silent
        self._send = send or (lambda body, write: write(body))
        self._closing = threading.Event()
        self.layer, self._config, self._manifest = _image(size, marker)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def closing(self) -> threading.Event:
        """Set when the registry is closed; a sender that waits, waits on this."""
        return self._closing

    def requests_for(self, part: str) -> list[str]:
        """The requests whose path holds *part*."""
        return [request for request in self.requests if part in request]

    def close(self) -> None:
        """End it; what it kept waiting is let go."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.requests.append(f"{self.command} {self.path}")
                if registry._silent:
                    registry._closing.wait()
                    self.close_connection = True
                    return
                self._answer()

            do_HEAD = do_GET

            def _answer(self) -> None:
                if self.path == "/v2/":
                    self._respond(b"{}", "application/json")
                elif "/manifests/" in self.path:
                    self._respond(registry._manifest, "application/vnd.docker.distribution.manifest.v2+json")
                elif self.path.endswith(_digest(registry._config)):
                    self._respond(registry._config, "application/octet-stream")
                elif self.path.endswith(_digest(registry.layer)):
                    self._respond(registry.layer, "application/octet-stream", registry._send)
                else:
                    self.send_error(404)

            def _respond(self, body: bytes, kind: str, send: Sender | None = None) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.end_headers()
                if self.command == "HEAD":
                    return
                try:
                    if send is None:
                        self.wfile.write(body)
                    else:
                        send(body, self.wfile.write)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        return Handler


def stall_after(fraction: float, registry: Callable[[], SlowRegistry]) -> Sender:
    """Send a part of the layer, then nothing until the registry is closed."""

    def send(body: bytes, write: Callable[[bytes], object]) -> None:
        write(body[: int(len(body) * fraction)])
        registry().closing.wait()

    return send


def trickle(pieces: int, seconds: float) -> Sender:
    """Send the layer in that many pieces over that time."""

    def send(body: bytes, write: Callable[[bytes], object]) -> None:
        size = -(-len(body) // pieces)
        for start in range(0, len(body), size):
            write(body[start : start + size])
            time.sleep(seconds / pieces)

    return send


def _image(size: int, marker: str) -> tuple[bytes, bytes, bytes]:
    """Layer (gzip), configuration and manifest."""
    noise = b"".join(hashlib.sha256(f"{marker}{index}".encode()).digest() for index in range(size // 32))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("noise")
        member.size = len(noise)
        tar.addfile(member, io.BytesIO(noise))
    plain = buffer.getvalue()
    layer = gzip.compress(plain, compresslevel=1, mtime=0)
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        }
    ).encode()
    base = "application/vnd.docker."
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": base + "distribution.manifest.v2+json",
            "config": {"mediaType": base + "container.image.v1+json", "size": len(config), "digest": _digest(config)},
            "layers": [
                {"mediaType": base + "image.rootfs.diff.tar.gzip", "size": len(layer), "digest": _digest(layer)}
            ],
        }
    ).encode()
    return layer, config, manifest


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
