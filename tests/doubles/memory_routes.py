"""The calls of the Engine API, served from the state of the memory engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from criwist import reference as references
from criwist.wire.stdcopy import Stream, frame
from tests.doubles.engine_server import Exchange, Refusal
from tests.doubles.memory_containers import Containers
from tests.doubles.memory_events import Events, time_text
from tests.doubles.memory_execs import Execs
from tests.doubles.memory_images import Images, RemoteImage, given_credentials
from tests.doubles.memory_network import MemoryNetwork
from tests.doubles.memory_processes import AttachedClient

_Serve = Callable[..., None]
_PullMessages = Iterator[tuple[float, dict[str, Any]]]

_VERSION = {
    "Version": "20.10.24",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.12",
    "Os": "linux",
    "Arch": "amd64",
    "KernelVersion": "6.1.0",
}
_INFO = {
    "ID": "MEMO:RYEN:GINE",
    "ServerVersion": "20.10.24",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "1",
    "DefaultRuntime": "runc",
    "Runtimes": {"runc": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=default"],
    "DockerRootDir": "/memory",
    "LoggingDriver": "json-file",
    "KernelVersion": "6.1.0",
    "OperatingSystem": "Memory",
    "Architecture": "x86_64",
    "SwapLimit": True,
}


@frozen(eq=False)
class EngineState:
    """The state that the routes read and change."""

    clock: IReactorTime
    network: MemoryNetwork
    events: Events
    images: Images
    containers: Containers
    execs: Execs
    #: Images that can be pulled, by full reference.
    registry: dict[str, RemoteImage]
    #: Members that replace or join those of ``/version`` and ``/info``.
    version: dict[str, Any]
    info: dict[str, Any]
    #: References whose pull the client cancelled.
    abandoned_pulls: list[str]


class Routes:
    """Finds the route of a call and serves the call."""

    def __init__(self, engine: EngineState) -> None:
        self._engine = engine
        table: dict[str, _Serve] = {
            "GET /_ping": lambda call: call.reply(200, b"OK"),
            "GET /version": lambda call: call.reply(200, {**_VERSION, **engine.version}),
            "GET /info": lambda call: call.reply(200, {**_INFO, **engine.info}),
            "GET /events": engine.events.subscribe,
            "GET /containers/json": self._list_containers,
            "POST /containers/create": self._create_container,
            "GET /containers/([^/]+)/json": self._inspect_container,
            "POST /containers/([^/]+)/start": self._start_container,
            "POST /containers/([^/]+)/stop": self._stop_container,
            "POST /containers/([^/]+)/kill": self._kill_container,
            "POST /containers/([^/]+)/rename": self._rename_container,
            "POST /containers/([^/]+)/update": self._update_container,
            "POST /containers/([^/]+)/resize": self._resize_container,
            "POST /containers/([^/]+)/attach": self._attach_container,
            "GET /containers/([^/]+)/logs": self._logs,
            "POST /containers/([^/]+)/exec": self._create_exec,
            "DELETE /containers/([^/]+)": self._remove_container,
            "POST /exec/([^/]+)/start": self._start_exec,
            "GET /exec/([^/]+)/json": self._inspect_exec,
            "POST /exec/([^/]+)/resize": self._resize_exec,
            "GET /images/json": self._list_images,
            "POST /images/create": self._pull,
            "POST /images/load": self._load,
            "GET /images/(.+)/json": self._inspect_image,
            "GET /images/(.+)/history": self._image_history,
            "POST /images/(.+)/tag": self._tag_image,
            "DELETE /images/(.+)": self._remove_image,
        }
        self._table = [(re.compile(pattern), serve) for pattern, serve in table.items()]

    def serve(self, call: Exchange) -> None:
        """Answer *call*."""
        for pattern, serve in self._table:
            if match := pattern.fullmatch(str(call)):
                serve(call, *match.groups())
                return
        raise Refusal(404, "page not found")

    # -- Containers

    def _list_containers(self, call: Exchange) -> None:
        listed = self._engine.containers.listed(_filters(call))
        call.reply(200, [one.summary() for one in listed if one.running or call.query.get("all") == "1"])

    def _create_container(self, call: Exchange) -> None:
        made = self._engine.containers.create(call.query.get("name", ""), call.document)
        call.reply(201, {"Id": made.id, "Warnings": []})

    def _inspect_container(self, call: Exchange, name: str) -> None:
        call.reply(200, self._engine.containers.find(name).inspect())

    def _start_container(self, call: Exchange, name: str) -> None:
        container = self._engine.containers.find(name)
        if container.running:
            raise Refusal(304, "")
        run = self._engine.containers.start(container)
        call.reply(204)
        run()

    def _stop_container(self, call: Exchange, name: str) -> None:
        grace = int(call.query["t"]) if "t" in call.query else None
        container = self._engine.containers.find(name)

        def done() -> None:
            call.reply(204)
            self._engine.network.settle()

        self._engine.containers.stop(container, grace, done)

    def _kill_container(self, call: Exchange, name: str) -> None:
        self._engine.containers.kill(self._engine.containers.find(name), call.query.get("signal", "KILL"))
        call.reply(204)

    def _rename_container(self, call: Exchange, name: str) -> None:
        self._engine.containers.rename(self._engine.containers.find(name), call.query["name"])
        call.reply(204)

    def _update_container(self, call: Exchange, name: str) -> None:
        self._engine.containers.update(self._engine.containers.find(name), call.document)
        call.reply(200, {"Warnings": None})

    def _resize_container(self, call: Exchange, name: str) -> None:
        container = self._engine.containers.find(name)
        if not container.running:
            raise Refusal(409, f"Container {container.id} is not running")
        call.reply(200)

    def _remove_container(self, call: Exchange, name: str) -> None:
        self._engine.containers.remove(self._engine.containers.find(name), force=call.query.get("force") == "1")
        call.reply(204)

    def _attach_container(self, call: Exchange, name: str) -> None:
        container = self._engine.containers.find(name)
        parameters = {"stdin": Stream.STDIN, "stdout": Stream.STDOUT, "stderr": Stream.STDERR}
        streams = frozenset(stream for key, stream in parameters.items() if call.query.get(key) == "1")
        if container.process is None or not container.process.running:
            raise Refusal(409, f"Container {container.id} is not running")
        client = AttachedClient(container.process, streams=streams, raw=bool(container.config.get("Tty")))
        call.upgrade(client)

    def _logs(self, call: Exchange, name: str) -> None:
        container = self._engine.containers.find(name)
        raw = bool(container.config.get("Tty"))
        since = float(call.query.get("since") or 0)
        call.begin("application/vnd.docker.raw-stream")
        wanted = {Stream.STDOUT: call.query.get("stdout") == "1", Stream.STDERR: call.query.get("stderr") == "1"}
        for time, stream, data in container.log:
            if not wanted.get(stream) or time / 10**9 < since:
                continue
            text = time_text(time).encode() + b" " + data if call.query.get("timestamps") == "1" else data
            call.write(text if raw else frame(stream, text))
        if call.query.get("follow") == "1" and container.process is not None and container.process.running:
            container.process.when_ended(lambda _: call.end())
        else:
            call.end()

    # -- Execs

    def _create_exec(self, call: Exchange, name: str) -> None:
        made = self._engine.execs.create(self._engine.containers.find(name), call.document)
        call.reply(201, {"Id": made.id})

    def _start_exec(self, call: Exchange, exec_id: str) -> None:
        self._engine.execs.start(self._engine.execs.find(exec_id), call)

    def _inspect_exec(self, call: Exchange, exec_id: str) -> None:
        call.reply(200, self._engine.execs.find(exec_id).inspect())

    def _resize_exec(self, call: Exchange, exec_id: str) -> None:
        self._engine.execs.find(exec_id).size = (int(call.query["h"]), int(call.query["w"]))
        call.reply(201)

    # -- Images

    def _list_images(self, call: Exchange) -> None:
        filters = _filters(call)
        images = self._engine.images
        wanted = [images.find(text) for text in filters["reference"]] if "reference" in filters else images.all.values()
        call.reply(200, [image.summary() for image in wanted if image.id not in images.unlisted])

    def _inspect_image(self, call: Exchange, name: str) -> None:
        call.reply(200, self._engine.images.find(name).inspect())

    def _image_history(self, call: Exchange, name: str) -> None:
        call.reply(200, self._engine.images.find(name).history())

    def _tag_image(self, call: Exchange, name: str) -> None:
        reference = references.parse(f"{call.query['repo']}:{call.query.get('tag') or 'latest'}")
        self._engine.images.tag(self._engine.images.find(name), reference)
        call.reply(201)

    def _remove_image(self, call: Exchange, name: str) -> None:
        call.reply(200, self._engine.images.remove(name, force=call.query.get("force") == "1"))

    def _load(self, call: Exchange) -> None:
        image = self._engine.images.add("", content=call.body.hex())
        call.begin()
        call.write({"stream": f"Loaded image ID: {image.id}\n"})
        call.end()
        self._engine.events.publish("image", "load", image.id, {"name": image.id})

    def _pull(self, call: Exchange) -> None:
        reference = references.parse(call.query["fromImage"])
        remote = self._engine.registry.get(str(reference))
        if remote is not None and remote.refusal is not None:
            raise remote.refusal
        if remote is None or not remote.admits(given_credentials(call.headers)):
            raise Refusal(
                404,
                f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
                "'docker login': denied: requested access to the resource is denied",
            )
        call.begin()
        call.on_abandoned.append(lambda: self._engine.abandoned_pulls.append(str(reference)))
        self._send_progress(call, reference, remote, remote.messages(reference))

    def _send_progress(
        self, call: Exchange, reference: references.Reference, remote: RemoteImage, messages: _PullMessages
    ) -> None:
        """Send the messages that are due, and schedule the next one."""
        for delay, message in messages:
            if delay:
                self._engine.clock.callLater(delay, self._send_due, call, reference, remote, messages, message)
                return
            call.write(message)
        if remote.stalls or call.finished:
            return
        self._engine.images.pulled(reference, remote)
        call.write({"status": f"Digest: {remote.manifest_digest}"})
        call.write({"status": f"Status: Downloaded newer image for {reference.familiar}"})
        call.end()

    def _send_due(
        self,
        call: Exchange,
        reference: references.Reference,
        remote: RemoteImage,
        messages: _PullMessages,
        message: dict[str, Any],
    ) -> None:
        if not call.finished:
            call.write(message)
            self._send_progress(call, reference, remote, messages)
        self._engine.network.settle()


def _filters(call: Exchange) -> dict[str, Sequence[str]]:
    given = json.loads(call.query.get("filters") or "{}")
    return {name: list(values) for name, values in given.items()}
