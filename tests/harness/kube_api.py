"""A stand-in for API server and kubelet, for the real kubectl: just enough of both to exec, attach and forward ports.

It answers the discovery and pod requests that kubectl makes first.  For the subresources ``exec``, ``attach`` and
``portforward`` it asks the CRI for a URL, as a kubelet does, and passes the client's upgrade request on to it with
nothing changed but its target; from then on it copies bytes both ways until one side has ended.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from attrs import define, field, frozen

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI

NAMESPACE = "default"
_CHUNK = 256 << 10
_MAX_HEAD = 64 << 10
_PATIENCE = 120.0
_TUNNEL = "SPDY/3.1+portforward.k8s.io"

_RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "v1",
    "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]},
        *(
            {"name": f"pods/{name}", "namespaced": True, "kind": f"Pod{kind}Options", "verbs": ["create", "get"]}
            for name, kind in (("exec", "Exec"), ("attach", "Attach"), ("portforward", "PortForward"))
        ),
    ],
}
_DISCOVERY: Mapping[str, object] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": _RESOURCES,
}


@frozen
class PodContainer:
    """A container as a pod's spec has it."""

    container_id: str
    stdin: bool = False
    tty: bool = False


@define(eq=False)
class KubeAPI:
    """One stand-in, listening on 127.0.0.1 from :meth:`start` to :meth:`stop`."""

    cri: CRI
    directory: Path
    _pods: dict[str, tuple[str, dict[str, PodContainer]]] = field(factory=dict, init=False)
    _listener: socket.socket = field(init=False)
    _open: set[socket.socket] = field(factory=set, init=False)
    #: The subresource requests, as ``(name, upgrade, sub-protocols)``.
    seen: list[tuple[str, str, str]] = field(factory=list, init=False)

    def start(self) -> None:
        """Listen, and write the kubeconfig."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()
        address = self._listener.getsockname()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{address[1]}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "current-context": "x",
        }
        self.kubeconfig.write_text(json.dumps(config))

    def stop(self) -> None:
        """Close everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            _shut(one)

    @property
    def kubeconfig(self) -> Path:
        """For kubectl's ``--kubeconfig``."""
        return self.directory / "kubeconfig"

    @property
    def url(self) -> str:
        """For clients that want no file."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def add_pod(self, name: str, sandbox_id: str, **containers: PodContainer) -> None:
        """Make a pod known by its name."""
        self._pods[name] = (sandbox_id, containers)

    # -- HTTP

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            connection.settimeout(_PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._answer(connection):
                pass
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one request; whether another may follow."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data or len(head) > _MAX_HEAD:
                return False
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = request_line.split(" ", 2)
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        parts = urlsplit(target)
        segments = parts.path.strip("/").split("/")
        if parts.path.rstrip("/") in _DISCOVERY:
            return _send(connection, 200, _DISCOVERY[parts.path.rstrip("/")])
        if segments[:4] != ["api", "v1", "namespaces", NAMESPACE] or segments[4:5] != ["pods"] or len(segments) < 6:
            return _send(connection, 404, _status(404, "NotFound", f"the server has no {parts.path}"))
        name, subresource = segments[5], segments[6] if len(segments) > 6 else ""
        if name not in self._pods:
            return _send(connection, 404, _status(404, "NotFound", f'pods "{name}" not found'))
        if not subresource:
            return _send(connection, 200, self._pod(name))
        try:
            url = self._url(name, subresource, parse_qs(parts.query), dict(headers))
        except grpc.RpcError as error:
            words = f"{error.code().name}: {error.details()}"
            return _send(connection, 500, _status(500, "InternalError", words))
        self._pass_on(connection, method, url, headers, rest)
        return False

    def _url(self, name: str, subresource: str, query: dict[str, list[str]], headers: dict[str, str]) -> str:
        sandbox_id, containers = self._pods[name]
        offered = headers.get("sec-websocket-protocol", "") or headers.get("x-stream-protocol-version", "")
        self.seen.append((subresource, headers.get("upgrade", ""), offered))
        if subresource == "portforward":
            # A kubelet reads ports from the query for the channel protocols, and for them alone.
            channels = headers.get("upgrade", "").lower() == "websocket" and _TUNNEL not in offered
            ports = [int(port) for value in query.get("ports", []) for port in value.split(",")] if channels else []
            return str(self.cri.runtime.PortForward(api.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)).url)
        container = containers[query.get("container", [next(iter(containers))])[0]]
        flags = {flag: query.get(flag, ["false"])[0] in ("true", "1") for flag in ("stdin", "stdout", "stderr", "tty")}
        # As API server and kubelet do: a terminal has one output.
        flags["stderr"] = flags["stderr"] and not flags["tty"]
        if subresource == "exec":
            request = api.ExecRequest(container_id=container.container_id, cmd=query.get("command", []), **flags)
            return str(self.cri.runtime.Exec(request).url)
        return str(self.cri.runtime.Attach(api.AttachRequest(container_id=container.container_id, **flags)).url)

    def _pod(self, name: str) -> dict[str, Any]:
        sandbox_id, containers = self._pods[name]
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": sandbox_id},
            "spec": {
                "containers": [
                    {"name": key, "image": "i", "stdin": one.stdin, "tty": one.tty} for key, one in containers.items()
                ]
            },
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": key, "ready": True, "state": {"running": {}}, "containerID": one.container_id}
                    for key, one in containers.items()
                ],
            },
        }

    # -- The upgrade

    def _pass_on(
        self, client: socket.socket, method: str, url: str, headers: list[tuple[str, str]], rest: bytes
    ) -> None:
        where = urlsplit(url)
        backend = socket.create_connection((where.hostname, where.port), timeout=10)
        self._open.add(backend)
        try:
            backend.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines = [f"{method} {where.path} HTTP/1.1", f"Host: {where.netloc}"]
            lines += [f"{name}: {value}" for name, value in headers if name != "host"]
            backend.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + rest)
            for one in (client, backend):
                one.settimeout(None)
            other = threading.Thread(target=_copy, args=(client, backend), daemon=True)
            other.start()
            _copy(backend, client)
            other.join()
        finally:
            self._open.discard(backend)
            backend.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until either has ended, then end both, as the API server's proxy does."""
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        while count := source.recv_into(buffer):
            target.sendall(view[:count])
    except OSError:
        pass
    _shut(target)
    _shut(source)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _send(connection: socket.socket, code: int, document: object) -> bool:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return True
