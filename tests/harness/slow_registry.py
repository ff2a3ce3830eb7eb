"""A registry that misbehaves as told: stalls in a layer, trickles, never answers, answers with an error.

It serves, by HTTP on a loopback address, any repository and tag with an image of two layers, a small and a large one
of bytes that are different for each repository and do not compress.  Its ways are attributes, which a test may change
at any time.  Docker takes registries on 127.0.0.0/8 without TLS.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.images import architecture

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

SMALL = 1000


class SlowRegistry:
    """The registry, and how it behaves.

    :param large: bytes of the large layer.
    """

    def __init__(self, large: int = 4 << 20) -> None:
        self.large = large
        #: Every request for a manifest or blob is answered with this, if not 200.
        self.status = 200
        #: The message of every error.
        self.message = "as the test wants it"
        #: No request is answered at all.
        self.silent = False
        #: The large layer comes up to this byte and no further, until :meth:`go_on`.
        self.stall_at: int | None = None
        #: Bytes of the large layer sent at once, and seconds between them.
        self.chunk = 64 << 10
        self.pause = 0.0
        #: Who may pull; ``""``: anybody.
        self.user = ""
        self.password = ""
        #: Requests that were answered: ``GET /v2/…``.
        self.requests: list[str] = []
        #: Downloads of the large layer that stand still.
        self.stalled = 0
        #: Downloads of the large layer that the client broke off.  Docker 20.10 closes the connection of a cancelled
        #: download that stands still only when the next bytes come: :meth:`crawl` first, then look here.
        self.broken_off = 0
        self._crawls = False
        self._go_on = threading.Event()
        self._blobs: dict[str, bytes] = {}
        self._large: set[str] = set()
        self._server = _Server(self)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Serve, in threads."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def go_on(self) -> None:
        """End all stalls."""
        self._crawls = False
        self._resume()

    def crawl(self) -> None:
        """End all stalls, and send the rest so slowly that a client has half a minute to break off."""
        self._crawls = True
        self._resume()

    def piece(self) -> tuple[int, float]:
        """How many bytes are sent at once after a stall, and the seconds before the next.

        Not all at once into the socket's buffer, where nobody would notice that the client is gone.
        """
        return (4 << 10, 0.05) if self._crawls else (self.chunk, max(self.pause, 0.01))

    def _resume(self) -> None:
        self.stall_at, self.silent = None, False
        self._go_on.set()

    def stalls_until_told(self) -> bool:
        """Wait for :meth:`go_on`; False if that does not come while a test lasts."""
        return self._go_on.wait(300)

    def admits(self, header: str) -> bool:
        """Whether an Authorization header will do."""
        if not self.user:
            return True
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return header == f"Basic {expected}"

    def error(self, code: str) -> bytes:
        """The body of an error."""
        return _json({"errors": [{"code": code, "message": self.message}]})

    def manifest(self, repository: str) -> bytes:
        """The manifest of the repository's one image."""
        layers = [self._layer(repository, SMALL, large=False), self._layer(repository, self.large, large=True)]
        config = _json(
            {
                "architecture": architecture(),
                "os": "linux",
                "config": {"Cmd": ["none"], "Labels": {"repository": repository}},
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id, _ in layers]},
                "history": [{"created_by": "a test"} for _ in layers],
            }
        )
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, "size": len(config), "digest": self._add(config)},
                "layers": [{"mediaType": _LAYER, "size": size, "digest": digest} for digest, _, size in layers],
            }
        )

    def blob(self, digest: str) -> tuple[bytes, bool] | None:
        """The blob, and whether it is a large layer."""
        found = self._blobs.get(digest)
        return None if found is None else (found, digest in self._large)

    def _layer(self, repository: str, size: int, *, large: bool) -> tuple[str, str, int]:
        """Digest, uncompressed digest and size of a layer."""
        content = random.Random(f"{repository} {size}").randbytes(size)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo(f"file-{size}")
            member.size = size
            tar.addfile(member, io.BytesIO(content))
        blob = gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)
        digest = self._add(blob)
        if large:
            self._large.add(digest)
        return digest, _digest(buffer.getvalue()), len(blob)

    def _add(self, blob: bytes) -> str:
        digest = _digest(blob)
        self._blobs[digest] = blob
        return digest


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, registry: SlowRegistry) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.registry = registry


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer as the registry is told to."""
        registry = self.server.registry
        if registry.silent and not registry.stalls_until_told():
            return
        registry.requests.append(f"{self.command} {self.path}")
        if not registry.admits(self.headers.get("Authorization", "")):
            self._answer(401, registry.error("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="test"'})
        elif self.path == "/v2/":
            self._answer(200, b"{}")
        elif registry.status != 200:
            self._answer(registry.status, registry.error("UNAVAILABLE"))
        else:
            self._content(self.path.removeprefix("/v2/"))

    do_HEAD = do_GET

    def _content(self, path: str) -> None:
        repository, _, rest = path.rpartition("/manifests/")
        if repository:
            manifest = self.server.registry.manifest(repository)
            if rest.startswith("sha256:") and rest != _digest(manifest):
                self._answer(404, self.server.registry.error("MANIFEST_UNKNOWN"))
            else:
                self._answer(200, manifest, {"Content-Type": _MANIFEST, "Docker-Content-Digest": _digest(manifest)})
            return
        blob = self.server.registry.blob(path.rpartition("/blobs/")[2])
        if blob is None:
            self._answer(404, self.server.registry.error("BLOB_UNKNOWN"))
        elif blob[1]:
            self._slowly(blob[0])
        else:
            self._answer(200, blob[0], {"Content-Type": "application/octet-stream"})

    def _slowly(self, blob: bytes) -> None:
        registry = self.server.registry
        self.send_response(200)
        self.send_header("Content-Length", str(len(blob)))
        self.end_headers()
        sent = 0
        stalled = False
        try:
            while sent < len(blob):
                limit = len(blob) if registry.stall_at is None else min(registry.stall_at, len(blob))
                if sent >= limit:
                    self._wait_at_stall()
                    stalled = True
                    continue
                size, pause = registry.piece() if stalled else (registry.chunk, registry.pause)
                piece = blob[sent : min(sent + size, limit)]
                self.wfile.write(piece)
                sent += len(piece)
                time.sleep(pause)
        except OSError:
            registry.broken_off += 1
            self.close_connection = True

    def _wait_at_stall(self) -> None:
        """Until told to go on, or until the client is gone, which a read tells."""
        registry = self.server.registry
        self.connection.settimeout(0.1)
        registry.stalled += 1
        try:
            while registry.stall_at is not None:
                try:
                    if not self.connection.recv(1):
                        raise ConnectionResetError("the client is gone")
                except TimeoutError:
                    continue
        finally:
            registry.stalled -= 1
        self.connection.settimeout(None)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
