"""The client of the Docker Engine API: a provider of ``IDocker``, which documents each call.

A call is a method, a path below the negotiated version, and a time limit.  :mod:`criwist.docker.calls` sends it, and
:mod:`criwist.docker.error_responses` turns an error response into an exception.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from criwist.docker.agent import EngineConnections
from criwist.docker.bodies import read_objects
from criwist.docker.calls import Calls, Request, Subject, convert_connection_errors, json_list, json_object
from criwist.docker.error_responses import (
    error_from_response,
    is_not_running,
    is_removal_in_progress,
    pull_error,
)
from criwist.docker.facts import engine_facts
from criwist.docker.overlay_layers import overlay_layers
from criwist.engine_differences import OLDEST_API, version_text
from criwist.errors import CriwistError, EngineFailure, FailedPrecondition, NotFound, Unavailable
from criwist.interfaces.engine import EngineFacts, IDocker, IHijackedStream, JSONObject
from criwist.interfaces.metrics import NO_METRICS, IMetrics

# Time limits, in seconds.  They end waits for an engine that has stopped answering; a busy engine needs seconds.

PING_LIMIT: Final = 10.0
#: Calls that read: inspect, list, info.
READ_LIMIT: Final = 60.0
#: Calls that change little: create, kill, rename, update, tag, resize.
CHANGE_LIMIT: Final = 120.0
#: Start (mounts, network, runtime) and removal (trees of files).  Kubelet waits for two minutes by default; this limit
#: is longer, so that only one of the two can lose the response.
WORK_LIMIT: Final = 240.0
#: After the grace of a stop: the time that the engine needs to kill and to clean up.
STOP_MARGIN: Final = 60.0
#: A checkpoint writes the memory of a tree of processes to disk.
CHECKPOINT_LIMIT: Final = 1800.0
#: A loaded archive is small enough to be in this process's memory.
LOAD_LIMIT: Final = 300.0

_ENGINE = Subject("engine", "engine")


@implementer(IDocker)
@define(eq=False)
class Docker:
    """The engine behind *connections*.  All calls are made on the thread of *reactor*.

    :param metrics: counts the calls.
    :param request_timeout: time limit in seconds of calls that change little; calls that read get half of it, starts
        and removals twice as much.
    """

    _reactor: IReactorTime
    _connections: EngineConnections
    request_timeout: float = field(default=CHANGE_LIMIT, kw_only=True)
    metrics: IMetrics = field(default=NO_METRICS, kw_only=True)
    facts: EngineFacts | None = field(default=None, init=False)
    _calls: Calls = field(init=False)
    #: ``request_timeout`` as a multiple of its default; scales the limits of the other calls.
    _scale: float = field(init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        self._scale = self.request_timeout / CHANGE_LIMIT
        self._calls = Calls(self._reactor, self._connections, version_text(OLDEST_API), self.metrics)

    # -- The engine

    async def connect(self) -> EngineFacts:
        version = json_object(await self._get("/version", _ENGINE, unversioned=True))
        info = json_object(await self._get("/info", _ENGINE, unversioned=True))
        self.facts = engine_facts(version, info)
        self._calls.version = version_text(self.facts.api_version)
        return self.facts

    async def ping(self) -> None:
        await self._calls.call(Request("GET", "/_ping", _ENGINE, unversioned=True), PING_LIMIT)

    async def info(self) -> JSONObject:
        return json_object(await self._get("/info", _ENGINE))

    async def events(self, since: str, connected: Callable[[], None], deliver: Callable[[JSONObject], None]) -> None:
        parameters = {"since": since} if since else {}
        response = await self._calls.stream(Request("GET", "/events", _ENGINE, parameters))
        connected()
        await convert_connection_errors(read_objects(response, deliver))
        raise Unavailable("Docker is away: it ended the event feed")

    # -- Containers

    async def containers(self, filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        return json_list(await self._get("/containers/json", _ENGINE, {"all": "1", **_filters(filters)}))

    async def inspect_container(self, container: str) -> JSONObject:
        subject = Subject("container", container)
        return json_object(await self._get(f"/containers/{subject.segment}/json", subject))

    async def create_container(self, name: str, body: JSONObject) -> str:
        subject = Subject("container", name)
        request = Request("POST", "/containers/create", subject, {"name": name}, _encoded(body))
        created = json_object(await self._calls.json(request, self._scale * CHANGE_LIMIT))
        for warning in created.get("Warnings") or ():
            self._log.warn(
                "The engine warned about the new container {container}: {warning}", container=name, warning=warning
            )
        return _identifier(created)

    async def start_container(self, container: str) -> None:
        await self._on_container(container, "start", self._scale * WORK_LIMIT)

    async def stop_container(self, container: str, grace: int) -> None:
        if grace > 0:
            await self._on_container(container, "stop", grace + STOP_MARGIN, {"t": str(grace)})
            return
        # An engine sends the stop signal before it reads a grace of 0, so that the process might yet act on the signal.
        try:
            await self._on_container(container, "kill", STOP_MARGIN, {"signal": "KILL"})
        except FailedPrecondition as error:
            if not is_not_running(error):
                raise

    async def kill_container(self, container: str, signal: str) -> None:
        await self._on_container(container, "kill", self._scale * CHANGE_LIMIT, {"signal": signal})

    async def remove_container(self, container: str, *, force: bool, volumes: bool) -> None:
        subject = Subject("container", container)
        parameters = {"force": _flag(force), "v": _flag(volumes)}
        try:
            await self._calls.call(
                Request("DELETE", f"/containers/{subject.segment}", subject, parameters), self._scale * WORK_LIMIT
            )
        except FailedPrecondition as error:
            # An earlier request whose caller has gone, as kubelet does at its end, or another client's.
            if not is_removal_in_progress(error):
                raise
            await self._removed(subject)

    async def _removed(self, subject: Subject) -> None:
        """Wait until a container whose removal is in progress is gone."""
        path = f"/containers/{subject.segment}/wait"
        request = Request("POST", path, subject, {"condition": "removed"})
        try:
            answer = json_object(await self._calls.json(request, self._scale * WORK_LIMIT))
        except NotFound:
            return
        if failure := answer.get("Error"):
            raise EngineFailure(str(failure.get("Message", "")))

    async def rename_container(self, container: str, name: str) -> None:
        await self._on_container(container, "rename", self._scale * CHANGE_LIMIT, {"name": name})

    async def update_container(self, container: str, body: JSONObject) -> None:
        await self._on_container(container, "update", self._scale * CHANGE_LIMIT, body=body)

    async def resize_container(self, container: str, *, height: int, width: int) -> None:
        await self._on_container(container, "resize", self._scale * CHANGE_LIMIT, {"h": str(height), "w": str(width)})

    async def create_checkpoint(self, container: str, body: JSONObject) -> None:
        await self._on_container(container, "checkpoints", CHECKPOINT_LIMIT, body=body)

    async def attach_container(
        self, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> IHijackedStream:
        subject = Subject("container", container)
        parameters = {"stream": "1", "stdin": _flag(stdin), "stdout": _flag(stdout), "stderr": _flag(stderr)}
        request = Request("POST", f"/containers/{subject.segment}/attach", subject, parameters)
        return await self._calls.hijack(request, multiplexed=not tty)

    async def logs(self, container: str, parameters: Mapping[str, str]) -> Any:
        subject = Subject("container", container)
        path = f"/containers/{subject.segment}/logs"
        # A followed log may end at any time, and its reader requests it again.
        follow = "follow" in parameters
        return await self._calls.stream(Request("GET", path, subject, parameters, until_close=follow))

    async def archive(self, container: str, path: str) -> bytes:
        subject = Subject("container", container)
        request = Request("GET", f"/containers/{subject.segment}/archive", subject, {"path": path})
        return await self._calls.call(request, self._scale * READ_LIMIT)

    async def has_path(self, container: str, path: str) -> bool:
        subject = Subject("container", container)
        request = Request("HEAD", f"/containers/{subject.segment}/archive", subject, {"path": path})
        try:
            await self._calls.call(request, self._scale * READ_LIMIT)
        except NotFound:
            return False
        return True

    # -- Execs

    async def create_exec(self, container: str, body: JSONObject) -> str:
        subject = Subject("container", container)
        request = Request("POST", f"/containers/{subject.segment}/exec", subject, body=_encoded(body))
        return _identifier(json_object(await self._calls.json(request, self._scale * CHANGE_LIMIT)))

    async def start_exec(self, exec_id: str, *, tty: bool) -> IHijackedStream:
        subject = Subject("exec", exec_id)
        body = _encoded({"Detach": False, "Tty": tty})
        return await self._calls.hijack(
            Request("POST", f"/exec/{subject.segment}/start", subject, body=body), multiplexed=not tty
        )

    async def inspect_exec(self, exec_id: str) -> JSONObject:
        subject = Subject("exec", exec_id)
        return json_object(await self._get(f"/exec/{subject.segment}/json", subject))

    async def resize_exec(self, exec_id: str, *, height: int, width: int) -> None:
        subject = Subject("exec", exec_id)
        parameters = {"h": str(height), "w": str(width)}
        await self._calls.call(
            Request("POST", f"/exec/{subject.segment}/resize", subject, parameters), self._scale * CHANGE_LIMIT
        )

    # -- Images

    async def images(self, filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        return json_list(await self._get("/images/json", _ENGINE, _filters(filters)))

    async def inspect_image(self, reference: str) -> JSONObject:
        subject = Subject("image", reference)
        return json_object(await self._get(f"/images/{subject.segment}/json", subject))

    async def image_layers(self, reference: str) -> Sequence[str]:
        return overlay_layers(await self.inspect_image(reference))

    async def image_history(self, reference: str) -> Sequence[JSONObject]:
        subject = Subject("image", reference)
        return json_list(await self._get(f"/images/{subject.segment}/history", subject))

    async def remove_image(self, reference: str, *, force: bool, prune: bool) -> None:
        subject = Subject("image", reference)
        parameters = {"force": _flag(force), "noprune": _flag(not prune)}
        await self._calls.call(
            Request("DELETE", f"/images/{subject.segment}", subject, parameters), self._scale * WORK_LIMIT
        )

    async def tag_image(self, reference: str, *, repository: str, tag: str) -> None:
        subject = Subject("image", reference)
        parameters = {"repo": repository, "tag": tag}
        await self._calls.call(
            Request("POST", f"/images/{subject.segment}/tag", subject, parameters), self._scale * CHANGE_LIMIT
        )

    async def pull_image(self, reference: str, auth: JSONObject | None, progress: Callable[[JSONObject], None]) -> None:
        subject = Subject("image", reference)
        headers = {} if auth is None else {"X-Registry-Auth": base64.urlsafe_b64encode(_encoded(auth)).decode("ascii")}
        request = Request("POST", "/images/create", subject, {"fromImage": reference}, headers=headers)
        try:
            response = await self._calls.stream(request, None)
            await convert_connection_errors(read_objects(response, _failing(progress, subject)))
        except CriwistError as error:
            raise pull_error(error, reference) from error

    async def load_image(self, archive: bytes, progress: Callable[[JSONObject], None]) -> None:
        subject = Subject("image", "archive")
        request = Request("POST", "/images/load", subject, {"quiet": "1"}, archive, content_type="application/x-tar")
        response = await self._calls.stream(request, LOAD_LIMIT)
        await convert_connection_errors(read_objects(response, _failing(progress, subject)))

    # -- Shared by the calls

    async def _get(
        self, path: str, subject: Subject, parameters: Mapping[str, str] | None = None, *, unversioned: bool = False
    ) -> Any:
        request = Request("GET", path, subject, parameters or {}, unversioned=unversioned)
        return await self._calls.json(request, self._scale * READ_LIMIT)

    async def _on_container(
        self,
        container: str,
        verb: str,
        limit: float,
        parameters: Mapping[str, str] | None = None,
        body: JSONObject | None = None,
    ) -> None:
        subject = Subject("container", container)
        content = b"" if body is None else _encoded(body)
        request = Request("POST", f"/containers/{subject.segment}/{verb}", subject, parameters or {}, content)
        await self._calls.call(request, limit)


def _failing(progress: Callable[[JSONObject], None], subject: Subject) -> Callable[[JSONObject], None]:
    """*progress*, but it raises for the message by which the engine reports a failure after its 200."""

    def deliver(message: JSONObject) -> None:
        if "error" in message or "errorDetail" in message:
            raise _stream_error(message, subject)
        progress(message)

    return deliver


def _stream_error(message: JSONObject, subject: Subject) -> CriwistError:
    """``{"error": text, "errorDetail": {"code": 401, "message": text}}``; only some errors have the code."""
    detail = message.get("errorDetail")
    detail = detail if isinstance(detail, dict) else {}
    text = str(message.get("error") or detail.get("message") or "the engine gave no reason")
    code = detail.get("code")
    return error_from_response(code if isinstance(code, int) and code >= 400 else 500, text, subject.kind, subject.name)


def _encoded(body: JSONObject) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("utf-8")


def _identifier(created: JSONObject) -> str:
    identifier = created.get("Id")
    if not isinstance(identifier, str) or not identifier:
        raise EngineFailure("the engine's answer to a create contains no id")
    return identifier


def _filters(filters: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The query parameter ``filters``, in the form that every version accepts: ``{"label": {"a=b": true}}``."""
    if not filters:
        return {}
    form = {name: dict.fromkeys(values, True) for name, values in filters.items()}
    return {"filters": json.dumps(form, separators=(",", ":"))}


def _flag(value: bool) -> str:
    return "1" if value else "0"
