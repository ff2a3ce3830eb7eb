"""Error responses of the engine, and failed connections, as criwist's own errors.

:func:`error_from_response` reads an error response, :func:`error_from_connection` a failed connection.  The engine
tells many errors apart by their text alone.  Each text that criwist acts on has a predicate here, named for its
meaning, with the engine versions that were seen to send it.
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
from twisted.web._newclient import ParseError  # Agent's error for a response that is not HTTP; not exported
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed
from twisted.web.iweb import IResponse

from criwist.errors import (
    CapabilityUnavailable,
    CriwistError,
    EngineFailure,
    FailedPrecondition,
    ImageInUse,
    InvalidArgument,
    NameConflict,
    NotFound,
    PermissionDenied,
    RegistryDenied,
    RegistryUnavailable,
    Unavailable,
)

#: Engine texts become gRPC status messages, which travel in an HTTP/2 trailer: peers refuse more than 8 KiB of it.
MAX_MESSAGE: Final = 4096

#: The errors that end a request without a response.
CONNECTION_FAILURES: Final = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    SSL.Error,
    VerificationError,
)


def error_from_response(status: int, message: str, kind: str, name: str) -> CriwistError:
    """Return the error that a response with *status* and *message* stands for.

    :param kind: the subject of the call: ``container``, ``image``, ``exec``…
    :param name: its id or name, as the caller gave it.
    """
    message = message[:MAX_MESSAGE].strip() or f"the engine answered {status} without a reason"
    if status == 404:
        return _not_found(message, kind, name)
    if status == 400:
        return _invalid_argument(message)
    if status == 409:
        return _conflict(message)
    if status in (401, 403):
        return PermissionDenied(message)
    return EngineFailure(message)


def error_message(body: bytes) -> str:
    """Return the text of an error body: the member ``message`` of a JSON object, or the plain text."""
    text = body.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except ValueError:
        return text
    return str(value["message"]) if isinstance(value, dict) and "message" in value else text


def error_from_connection(error: BaseException | None) -> BaseException:
    """Return the error that a failed connection stands for: :class:`CancelledError` if this process dropped it.

    :param error: an instance of :data:`CONNECTION_FAILURES`.
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
    """Return whether the status is 2xx, or 304, by which start and stop report that there was nothing to do."""
    code: int = response.code
    return 200 <= code < 300 or code == 304


# -- Not found (404) -----------------------------------------------------------------------------------------

_NO_SUCH = re.compile(r"no such (?P<kind>container|image|exec instance)(?: found)?: (?P<name>\S+)", re.IGNORECASE)
_KINDS = {"container": "container", "image": "image", "exec instance": "exec"}


def _not_found(message: str, kind: str, name: str) -> NotFound:
    """A 404 need not be about the call's subject: create reports a missing image, start a missing network."""
    found = _NO_SUCH.search(message)
    if found is None:
        return NotFound(kind, name, message)
    missing = _KINDS[found["kind"].lower()]
    return NotFound(kind, name) if missing == kind else NotFound(missing, found["name"].rstrip(":"))


# -- Conflicts (409) -----------------------------------------------------------------------------------------

_NAME_TAKEN = re.compile(r'is already in use by container "?([0-9a-f]{64})')
_NOT_RUNNING = re.compile(r"is not running", re.IGNORECASE)
_REMOVAL_IN_PROGRESS = re.compile(r"removal of container \S+ is already in progress", re.IGNORECASE)
_IMAGE_IN_USE = re.compile(
    r"must (?:be forced|force)|is using its referenced image|is being used by|has dependent child images", re.IGNORECASE
)


def _conflict(message: str) -> FailedPrecondition:
    error = FailedPrecondition(message)
    holder = name_holder(error)
    if holder is not None:
        return NameConflict(message, holder)
    return ImageInUse(message) if is_image_in_use(error) else error


def name_holder(error: CriwistError) -> str | None:
    """Return the id of the container that holds the name which a create or rename requested; None for other errors.

    Engines 20.10 to 29: ``Conflict. The container name "/x" is already in use by container "<id>". You have …``.
    """
    found = _NAME_TAKEN.search(str(error))
    return found[1] if found else None


def is_not_running(error: CriwistError) -> bool:
    """Return whether the engine refused a kill, exec or resize because the container does not run."""
    return isinstance(error, FailedPrecondition) and bool(_NOT_RUNNING.search(str(error)))


def is_removal_in_progress(error: CriwistError) -> bool:
    """Return whether the engine refused to remove a container because it is removing it for another request.

    Engines 20.10 to 28: ``removal of container <id> is already in progress``.
    """
    return isinstance(error, FailedPrecondition) and bool(_REMOVAL_IN_PROGRESS.search(str(error)))


def is_image_in_use(error: CriwistError) -> bool:
    """Return whether the engine kept an image because a container uses it, or because others were built from it."""
    return isinstance(error, FailedPrecondition) and bool(_IMAGE_IN_USE.search(str(error)))


# -- Bad parameters (400) ------------------------------------------------------------------------------------

_NOT_DROPPED = re.compile(r'invalid CapDrop: .*"(CAP_[A-Z_]+)"')


def _invalid_argument(message: str) -> InvalidArgument:
    error = InvalidArgument("docker", message)
    capability = unavailable_capability(error)
    return error if capability is None else CapabilityUnavailable("docker", message, capability)


def unavailable_capability(error: CriwistError) -> str | None:
    """Return the capability that a create refuses to drop because the engine lacks it; None for other errors.

    Engine 20.10: ``invalid CapDrop: unknown capability: "CAP_BPF"``; 23 to 29: ``invalid CapDrop: capability not
    supported by your kernel or not available in the current environment: "CAP_BPF"``.
    """
    found = _NOT_DROPPED.search(str(error))
    return found[1] if found else None


# -- Errors of registries, as the engine passes them on ------------------------------------------------------

_UNEXPECTED_STATUS = re.compile(
    r"unexpected (?:HTTP )?status(?: code)?(?: from \w+ request to \S+)?:? (?P<status>[45]\d\d)\b", re.IGNORECASE
)
_DENIED = re.compile(
    r"^(?:unauthorized|denied):|pull access denied|no basic auth credentials|insufficient_scope", re.IGNORECASE
)


#: HTTP statuses of a registry, or of a proxy before it, that is away for now.
_UNAVAILABLE = frozenset({502, 503, 504})


def pull_error(error: CriwistError) -> CriwistError:
    """Return the error to raise for a failed pull: *error*, or one with its text that blames the registry."""
    if registry_status(error) in _UNAVAILABLE:
        return RegistryUnavailable(str(error))
    return RegistryDenied(str(error)) if is_registry_denial(error) else error


def registry_status(error: CriwistError) -> int | None:
    """Return the HTTP status of a registry that answered a pull outside of its protocol, or None.

    Engines 20.10 to 28: ``received unexpected HTTP status: 503 Service Unavailable``; with the containerd image store:
    ``unexpected status from HEAD request to http://…: 503 Service Unavailable``.
    """
    found = _UNEXPECTED_STATUS.search(str(error))
    return int(found["status"]) if found else None


def is_registry_denial(error: CriwistError) -> bool:
    """Return whether a registry wants other credentials than it got.

    Engine 20.10 answers 500 with the registry's words (``unauthorized: …``) or its own (``no basic auth
    credentials``).  For Docker Hub, which hides which repositories exist, it answers 404 with ``pull access denied``.
    """
    return isinstance(error, PermissionDenied) or bool(_DENIED.search(str(error)))
