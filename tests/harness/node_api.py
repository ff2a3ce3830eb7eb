"""An API server with the part of its API that one kubelet uses, for pods that are not static.

kubelet evicts no static pod: it takes them for critical.  A kubelet with ``--kubeconfig`` gets its pods from here, and
reports their status, its node's and its events here, as to a real API server::

    kubelet = kubelet_factory(configuration=node_api.configuration, flags=node_api.flags)
    node_api.create(manifest("sh", "-c", "…"))
    node_api.wait_for("pod-1", phase("Failed"))

Objects of any kind are kept as they are sent.  A watch sends all objects of its kind, then each change.  Selectors are
not looked at: everything here is of one node.  A pod gets the defaults that kubelet relies on.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.harness.clock import eventually
from tests.harness.kubelet import NODE, Object

_PODS = "/api/v1/pods"
_NODES = "/api/v1/nodes"
#: Types that kubelet wants to have named; it takes the others for what it has asked for.
_TYPES = {
    _PODS: {"apiVersion": "v1", "kind": "PodList"},
    _NODES: {"apiVersion": "v1", "kind": "NodeList"},
}


class NodeAPI:
    """One API server on a port of 127.0.0.1, until :meth:`stop`.

    :param directory: where the kubeconfig is written.
    """

    #: Fields of a kubelet's configuration for :class:`Kubelet`.
    configuration: Object = {"contentType": "application/json", "nodeStatusUpdateFrequency": "2s"}

    def __init__(self, directory: Path) -> None:
        self._changed = threading.Condition()
        self._stopped = False
        self._version = 0
        #: The path of a collection without its namespace, to name, to object.
        self._objects: dict[str, dict[str, Object]] = {}
        #: All changes of all objects: the collection, and the watch event.
        self._log: list[tuple[str, Object]] = []
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        server = {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": server}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
            "current-context": "c",
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(kubeconfig))
        #: Flags of a kubelet for :class:`Kubelet`.
        self.flags = [f"--kubeconfig={path}"]

    def stop(self) -> None:
        """End it, with all watches."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # -- for tests

    def create(self, pod: Object) -> str:
        """Give a pod to the node, as a scheduler does; returns its name."""
        metadata = {
            **pod["metadata"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        defaults = {"dnsPolicy": "ClusterFirst", "enableServiceLinks": False, "securityContext": {}, "nodeName": NODE}
        containers = [{**_CONTAINER_DEFAULTS, **each} for each in pod["spec"]["containers"]]
        spec = {**defaults, **pod["spec"], "containers": containers}
        self.put(_PODS, {**pod, "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})
        return str(metadata["name"])

    def pod(self, name: str) -> Object:
        """Return a pod with the status that kubelet has reported."""
        return self._objects[_PODS][name]

    def wait_for(self, name: str, condition: Callable[[Object], object], *, within: float = 60) -> Object:
        """Wait until the condition holds for a pod; returns the pod.  An AssertionError in it counts as "not yet"."""

        def look() -> Object:
            pod = self.pod(name)
            assert condition(pod), json.dumps(pod["status"])
            return pod

        return eventually(look, within=within)

    def events(self, reason: str) -> list[tuple[str, str]]:
        """Return the name of the object and the message of each event with this reason, the first one first."""
        events = [change["object"] for collection, change in list(self._log) if collection == "/api/v1/events"]
        return [(it["involvedObject"]["name"], it["message"]) for it in events if it["reason"] == reason]

    def conditions(self) -> dict[str, str]:
        """Return the node's conditions: type to status."""
        node = self._objects.get(_NODES, {}).get(NODE, {})
        return {it["type"]: it["status"] for it in node.get("status", {}).get("conditions", ())}

    # -- for requests

    def find(self, collection: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        return self._objects.get(collection, {}).get(name)

    def put(self, collection: str, new: Object, *, deleted: bool = False) -> Object:
        """Keep an object, or delete it, and tell the watches; returns it."""
        with self._changed:
            self._version += 1
            name = new["metadata"]["name"]
            new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}}
            objects = self._objects.setdefault(collection, {})
            kind = "DELETED" if deleted else "MODIFIED" if name in objects else "ADDED"
            if deleted:
                objects.pop(name, None)
            else:
                objects[name] = new
            self._log.append((collection, {"type": kind, "object": new}))
            self._changed.notify_all()
            return new

    def listing(self, collection: str) -> Object:
        """Return all objects of a kind, as a list of the API."""
        with self._changed:
            items = list(self._objects.get(collection, {}).values())
            version = {"resourceVersion": str(self._version)}
            return {**_TYPES.get(collection, {}), "metadata": version, "items": items}

    def changes(self, collection: str, since: int) -> list[Object] | None:
        """Wait for changes after a version; returns them, none after a while, and None when the server ends."""
        with self._changed:
            found = [change for where, change in self._log[since:] if where == collection]
            if not found and not self._stopped:
                self._changed.wait(1)
            return None if self._stopped else found

    @property
    def version(self) -> int:
        """The number of changes so far."""
        return self._version


_CONTAINER_DEFAULTS = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def merged(old: Any, patch: Any) -> Any:
    """Return an object after a merge patch; conditions and addresses are merged by their type, as the API does."""
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return patch
    result = dict(old)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif key in ("conditions", "addresses"):
            by_type = {it["type"]: it for it in result.get(key, ())}
            for it in value:
                by_type[it["type"]] = {**by_type.get(it["type"], {}), **it}
            result[key] = list(by_type.values())
        else:
            result[key] = merged(result.get(key), value)
    return result


def _split(path: str) -> tuple[str, str]:
    """Return the collection, without its namespace, and the object's name; a subresource is the object."""
    parts = path.strip("/").split("/")
    group = 2 if parts[0] == "api" else 3
    rest = parts[group:]
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    return "/" + "/".join([*parts[:group], rest[0]]), rest[1] if len(rest) > 1 else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: NodeAPI) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing to standard error."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        collection, name = _split(url.path)
        query = parse_qs(url.query)
        if query.get("watch", ["0"])[0] in ("1", "true"):
            self._watch(collection, int(query.get("resourceVersion", ["0"])[0] or 0))
        elif name:
            self._answer_object(self.server.api.find(collection, name))
        else:
            self._answer(HTTPStatus.OK, self.server.api.listing(collection))

    def do_POST(self) -> None:
        collection, name = _split(urlsplit(self.path).path)
        body = self._body()
        name = name or body["metadata"]["name"]
        if self.server.api.find(collection, name) is not None:
            self._answer(HTTPStatus.CONFLICT, _failure("AlreadyExists", 409))
        else:
            self._answer(HTTPStatus.CREATED, self.server.api.put(collection, body))

    def do_PUT(self) -> None:
        collection, _ = _split(urlsplit(self.path).path)
        self._answer(HTTPStatus.OK, self.server.api.put(collection, self._body()))

    def do_PATCH(self) -> None:
        collection, name = _split(urlsplit(self.path).path)
        patch, old = self._body(), self.server.api.find(collection, name)
        self._answer_object(None if old is None else self.server.api.put(collection, merged(old, patch)))

    def do_DELETE(self) -> None:
        collection, name = _split(urlsplit(self.path).path)
        self._body()
        old = self.server.api.find(collection, name)
        self._answer_object(None if old is None else self.server.api.put(collection, old, deleted=True))

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(data) if data else {}

    def _answer_object(self, found: Object | None) -> None:
        self._answer(*((HTTPStatus.NOT_FOUND, _failure("NotFound", 404)) if found is None else (HTTPStatus.OK, found)))

    def _answer(self, status: HTTPStatus, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _watch(self, collection: str, version: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # kubelet has ended
            while (found := self.server.api.changes(collection, version)) is not None:
                for change in found:
                    self.wfile.write(json.dumps(change).encode() + b"\n")
                    version = max(version, int(change["object"]["metadata"]["resourceVersion"]))


def _failure(reason: str, code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
