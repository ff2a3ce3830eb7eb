"""What the engine's answers, and their absence, mean in our taxonomy.

:func:`fault` reads an error answer, :func:`connection_fault` a connection that failed.  The engine tells many faults
apart by their text alone; each text that we act on is a predicate here, named for its meaning, with the engines
that were seen to say so.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError  # what Agent raises for an answer that is not HTTP; not exported
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed
from twisted.web.iweb import IResponse

from criwist.errors import (
    CriwistError,
    EngineFailure,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)

#: Engine texts become gRPC status messages, which travel in an HTTP/2 trailer: peers refuse more than 8 KiB of it.
MAX_MESSAGE: Final = 4096

#: What can befall a request that is no answer to it.
LOST: Final = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    SSL.Error,
    VerificationError,
)


def fault(status: int, message: str, kind: str, name: str) -> CriwistError:
    """The error that an answer with *status* and *message* is.

    :param kind: what the call was about: ``container``, ``image``, ``exec``…
    :param name: its id or name, as the caller gave it.
    """
    message = message[:MAX_MESSAGE].strip() or f"the engine answered {status} without a reason"
    if status == 404:
        return _not_found(message, kind, name)
    if status == 400:
        return InvalidArgument("docker", message)
    if status == 409:
        return FailedPrecondition(message)
    if status in (401, 403):
        return PermissionDenied(message)
    return EngineFailure(message)


def error_message(body: bytes) -> str:
    """The engine's words in an error body: the member ``message`` of a JSON object, or plain text."""
    text = body.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except ValueError:
        return text
    return str(value["message"]) if isinstance(value, dict) and "message" in value else text


def connection_fault(error: BaseException | None) -> BaseException:
    """The error that a failed connection is: :class:`CancelledError` if we dropped it, or one of ours.

    :param error: an instance of :data:`LOST`.
    """
    causes = list(_causes(error)) if error is not None else []
    for cause in causes:
        if isinstance(cause, CancelledError | CriwistError):
            return cause
    for cause in causes:
        if isinstance(cause, ParseError):
            return EngineFailure(f"the engine's answer is not HTTP: {cause}")
    reasons = "; ".join(dict.fromkeys(str(cause) or type(cause).__name__ for cause in causes))
    return Unavailable(f"Docker is away: {reasons}")


def _causes(error: BaseException) -> Any:
    reasons: list[Failure] = getattr(error, "reasons", [])
    if not reasons:
        yield error
    for reason in reasons:
        if reason.value is not None and type(reason.value).__name__ != "_DataLoss":
            yield from _causes(reason.value)


def is_success(response: IResponse) -> bool:
    """2xx, and 304, by which start and stop say that there was nothing to do."""
    code: int = response.code
    return 200 <= code < 300 or code == 304


# -- What is not found ---------------------------------------------------------------------------------------

_NO_SUCH = re.compile(r"no such (?P<kind>container|image|exec instance)(?: found)?: (?P<name>\S+)", re.IGNORECASE)
_KINDS = {"container": "container", "image": "image", "exec instance": "exec"}


def _not_found(message: str, kind: str, name: str) -> NotFound:
    """A 404 need not be about the thing that the call names: create says so of an image, start of a network."""
    found = _NO_SUCH.search(message)
    if found is None:
        return NotFound(kind, name, message)
    said = _KINDS[found["kind"].lower()]
    return NotFound(kind, name) if said == kind else NotFound(said, found["name"].rstrip(":"))


# -- Conflicts (409) -----------------------------------------------------------------------------------------

_NAME_TAKEN = re.compile(r'is already in use by container "?([0-9a-f]{64})')
_NOT_RUNNING = re.compile(r"is not running", re.IGNORECASE)
_IMAGE_IN_USE = re.compile(r"must (?:be forced|force)|is using its referenced image|is being used by", re.IGNORECASE)


def name_holder(error: CriwistError) -> str | None:
    """The id of the container that has the name which a create or rename asked for; None if that is not the matter.

    Engines 20.10 to 29: ``Conflict. The container name "/x" is already in use by container "<id>". You have …``.
    """
    found = _NAME_TAKEN.search(str(error))
    return found[1] if found else None


def says_not_running(error: CriwistError) -> bool:
    """Whether a kill, exec or resize was refused because the container does not run."""
    return isinstance(error, FailedPrecondition) and bool(_NOT_RUNNING.search(str(error)))


def says_image_in_use(error: CriwistError) -> bool:
    """Whether an image's last reference was kept because a container uses it."""
    return isinstance(error, FailedPrecondition) and bool(_IMAGE_IN_USE.search(str(error)))


# -- Bad parameters (400) ------------------------------------------------------------------------------------

_NOT_DROPPED = re.compile(r'invalid CapDrop: .*"(CAP_[A-Z_]+)"')


def capability_not_dropped(error: CriwistError) -> str | None:
    """The capability that a create refuses to drop as the engine does not have it; None if that is not the matter.

    Engine 20.10: ``invalid CapDrop: unknown capability: "CAP_BPF"``; 23 to 29: ``invalid CapDrop: capability not
    supported by your kernel or not available in the current environment: "CAP_BPF"``.
    """
    found = _NOT_DROPPED.search(str(error))
    return found[1] if found else None


# -- What registries answered, as the engine passes it on ----------------------------------------------------

_UNEXPECTED_STATUS = re.compile(
    r"unexpected (?:HTTP )?status(?: code)?(?: from \w+ request to \S+)?:? (?P<status>[45]\d\d)\b", re.IGNORECASE
)
_DENIED = re.compile(
    r"^(?:unauthorized|denied):|pull access denied|no basic auth credentials|insufficient_scope", re.IGNORECASE
)


def registry_status(error: CriwistError) -> int | None:
    """The HTTP status of a registry that answered a pull outside of its protocol, or None.

    Engines 20.10 to 28: ``received unexpected HTTP status: 503 Service Unavailable``; with the containerd image store:
    ``unexpected status from HEAD request to http://…: 503 Service Unavailable``.
    """
    found = _UNEXPECTED_STATUS.search(str(error))
    return int(found["status"]) if found else None


def says_registry_denied(error: CriwistError) -> bool:
    """Whether a registry wants other credentials than it got.

    Engine 20.10 answers 500 with the registry's words (``unauthorized: …``) or its own (``no basic auth
    credentials``); for Docker Hub, which tells nobody what it has, 404 with ``pull access denied``.
    """
    return isinstance(error, PermissionDenied) or bool(_DENIED.search(str(error)))
