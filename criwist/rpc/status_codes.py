"""The table of status codes: the gRPC status of each error class.

This is the only module that uses gRPC's status codes.  A kubelet acts on them: NOT_FOUND between a list and a status is
harmless to it, UNIMPLEMENTED makes it fall back, and it retries anything else and reports it to the user.  So no error
class of ours becomes UNKNOWN, and no implemented RPC returns UNIMPLEMENTED.
"""

from __future__ import annotations

from grpc import StatusCode
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from criwist import errors

_log = Logger()

#: Longest status text, characters.  It travels percent-encoded in one HTTP/2 header, peers refuse more than
#: 8 KiB of headers, and a refused header would turn a clear error into an unreadable one.
MAX_DETAILS = 2000

_CODES: dict[type[errors.CriwistError], StatusCode] = {
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.CapabilityUnavailable: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.NameConflict: StatusCode.FAILED_PRECONDITION,
    errors.ImageInUse: StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.RegistryDenied: StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: StatusCode.CANCELLED,
    errors.Unimplemented: StatusCode.UNIMPLEMENTED,
    errors.EngineFailure: StatusCode.INTERNAL,
    errors.PluginFailure: StatusCode.INTERNAL,
    errors.Internal: StatusCode.INTERNAL,
}


def status_of(error: BaseException | None, operation: str) -> tuple[StatusCode, str]:
    """Return the gRPC code and text of *error*, which *operation* raised.

    A subclass has its parent's code.  An exception of no class of ours is a bug: this function logs it with its
    traceback and returns INTERNAL, without details that only a developer could use.
    """
    for kind in type(error).__mro__:
        code = _CODES.get(kind)
        if code is not None:
            return code, _shortened(str(error))
    if isinstance(error, CancelledError):
        return StatusCode.CANCELLED, f"{operation} was cancelled"
    if error is not None:
        _log.failure("{operation} failed unexpectedly", failure=Failure(error), operation=operation)
    return StatusCode.INTERNAL, _shortened(f"{operation} failed unexpectedly: {type(error).__name__}: {error}")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DETAILS else text[: MAX_DETAILS - 1] + "…"
