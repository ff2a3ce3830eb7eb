"""The replay of a script (``replay_script``) on a runtime.

The variables of every script, beside those that it keeps: ``name`` and ``uid`` of a pod that no other replay has, and
its log directory ``logs``.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from attrs import define, field
from google.protobuf import text_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.replay_answers import Answer, Names, fields_of
from tests.harness.replay_script import NONE, OK, Script, Step, matches, substitute

#: Seconds within which a condition has to come true, and a stream has to end or to send what is waited for.
_PATIENCE = 60.0


class ReplayError(AssertionError):
    """A replay cannot go on: an answer is not what the rest of the script needs."""


def method_named(name: str) -> MethodDescriptor:
    """Return a method of the CRI; KeyError if there is none."""
    services = api.DESCRIPTOR.services_by_name
    for service in ("RuntimeService", "ImageService"):
        if name in services[service].methods_by_name:
            return services[service].methods_by_name[name]
    raise KeyError(name)


def request_of(step: Step, variables: Mapping[str, str]) -> Message:
    """Return a step's request; KeyError for an unknown method or variable, text_format.ParseError for other faults."""
    request: Message = GetMessageClass(method_named(step.method).input_type)()
    text_format.Parse(substitute(step.request, variables), request)
    return request


@define(eq=False)
class Replay:
    """One replay of a script on one runtime.  It is played once."""

    script: Script
    cri: CRI
    #: To begin with, those that the script's own are added to.
    variables: dict[str, str] = field(factory=dict)
    _streams: dict[str, _Stream] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        pod = self.cri.pod(f"replay-{uuid.uuid4().hex[:8]}")
        own = {"name": pod.metadata.name, "uid": pod.metadata.uid, "logs": pod.log_directory}
        self.variables = self.script.variables(own | self.variables)

    def run(self) -> list[Answer]:
        """Make the calls, and return the answers.

        :raises ReplayError: a condition does not come true, or there is no field to keep.
        """
        try:
            return [self._answer(step) for step in self.script.steps]
        finally:
            for stream in self._streams.values():
                stream.close()

    def _answer(self, step: Step) -> Answer:
        if step.reads:
            return self._read(step)
        call = self._background if step.background else self._call
        look = call(step)
        answer = eventually(lambda: self._checked(step, look), within=_PATIENCE) if step.until else look()
        if answer.code == OK:
            self._keep(step, answer)
        elif step.keeps:
            raise ReplayError(self._about(step, f"{answer.code}: {answer.details}"))
        return Answer(answer.code, answer.details, self._named(answer))

    def _checked(self, step: Step, look: Callable[[], _Raw]) -> _Raw:
        raw = look()
        fields = self._named(raw)
        for each in step.until:
            seen = fields.get(each.path, NONE)
            if not matches(each.pattern, seen):
                raise ReplayError(self._about(step, f"{each.path} stays {seen}, not {each.pattern}; {raw.details}"))
        return raw

    def _call(self, step: Step) -> Callable[[], _Raw]:
        request = request_of(step, self.variables)
        method = method_named(step.method)
        stub = self.cri.images if method.containing_service.name == "ImageService" else self.cri.runtime
        rpc = getattr(stub, step.method)
        answer_type = GetMessageClass(method.output_type)

        def look() -> _Raw:
            try:
                if not method.server_streaming:
                    return _Raw(OK, "", [rpc(request)])
                whole = answer_type()
                for chunk in rpc(request, timeout=scaled(_PATIENCE)):
                    whole.MergeFrom(chunk)
                return _Raw(OK, "", [whole])
            except grpc.RpcError as error:
                return _Raw(error.code().name, str(error.details()), [])

        return look

    def _background(self, step: Step) -> Callable[[], _Raw]:
        stream = getattr(self.cri.runtime, step.method)(request_of(step, self.variables))
        if self.cri.name == "criwist":
            # It says so once the subscription is in force.  containerd does not, but sends what happened before, too.
            stream.initial_metadata()
        self._streams[step.method] = _Stream(stream)
        return lambda: _Raw(OK, "", [])

    def _read(self, step: Step) -> Answer:
        stream = self._streams[step.method]
        ids = [value for name, value in self.variables.items() if name in {"uid"} or len(value) == _ID_LENGTH]

        def arrived() -> list[Message]:
            ours = [each for each in stream.messages() if any(one in str(each) for one in ids)]
            assert len(ours) >= step.count, f"{len(ours)} of {step.count} messages:\n{ours}"
            return ours

        messages = eventually(arrived, within=_PATIENCE)
        return Answer(OK, "", self._named(_Raw(OK, "", messages, numbered=True)))

    def _keep(self, step: Step, raw: _Raw) -> None:
        fields = raw.fields(None)
        for name, path in step.keeps.items():
            if path not in fields:
                raise ReplayError(self._about(step, f"there is no {path} to keep: {fields}"))
            self.variables[name] = fields[path]

    def _named(self, raw: _Raw) -> dict[str, str]:
        return raw.fields(Names(self.variables, str(self.cri.socket.parent)))

    def _about(self, step: Step, words: str) -> str:
        return f"{self.script.name}:{step.line}: {step.method} on {self.cri.name}: {words}"


#: Digits of a container's or a sandbox's id.
_ID_LENGTH = 64


@define(eq=False)
class _Raw:
    """An answer before its values are replaced."""

    code: str
    details: str
    messages: Sequence[Message]
    numbered: bool = False

    def fields(self, names: Names | None) -> dict[str, str]:
        found: dict[str, str] = {}
        for index, message in enumerate(self.messages):
            found |= fields_of(message, names, f"[{index}]" if self.numbered else "")
        return found


class _Stream:
    """A stream that a thread reads as fast as it can."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._messages: list[Message] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._stream:
                self._messages.append(message)
        except grpc.RpcError:
            return  # what is missing is missed by those who wait for it

    def messages(self) -> list[Message]:
        """What has come so far."""
        return list(self._messages)

    def close(self) -> None:
        """End it."""
        self._stream.cancel()
        self._thread.join(scaled(10))
