"""The exceptions of criwist.

``docker.error_responses`` turns an engine's error response into one of these, and ``rpc.status_codes`` turns one of
these into a gRPC status; no code between the two reads status codes.  The message is a sentence for an operator: it
names the thing and the problem.
"""

from __future__ import annotations


class CriwistError(Exception):
    """The base class.  ``str(error)`` can be shown to the user unchanged."""


class InvalidArgument(CriwistError):
    """The request is wrong in every state of the node.

    :param field: path of the wrong field, in the CRI's spelling: ``config.metadata.name``.
    :param problem: the rule that it breaks: ``must not be empty``.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class CapabilityUnavailable(InvalidArgument):
    """The engine refuses to drop a capability that it does not have.

    :param capability: its name: ``CAP_BPF``.
    """

    def __init__(self, field: str, problem: str, capability: str) -> None:
        super().__init__(field, problem)
        self.capability = capability


class NotFound(CriwistError):
    """A sandbox, container, image or other named thing does not exist.

    :param kind: ``sandbox``, ``container``, ``image``, ``exec``…
    :param name: the id or reference as the caller gave it.
    """

    def __init__(self, kind: str, name: str, detail: str = "") -> None:
        super().__init__(f"{kind} {name!r} not found" + (f": {detail}" if detail else ""))
        self.kind = kind
        self.name = name


class AlreadyExists(CriwistError):
    """Another thing has the name; the text names it."""


class FailedPrecondition(CriwistError):
    """The request is valid, but the state of the thing does not allow it."""


class NameConflict(FailedPrecondition):
    """Another container has the name that a create or a rename requests.

    :param holder: the 64-digit id of that container.
    """

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class ImageInUse(FailedPrecondition):
    """The engine keeps an image, or its last reference, because a container uses it or others were built from it."""


class PermissionDenied(CriwistError):
    """A registry or the engine's authorization plugin refused for lack of rights."""


class RegistryDenied(PermissionDenied):
    """A registry wants other credentials than it got."""


class ResourceExhausted(CriwistError):
    """A limit of criwist is reached; the text names the limit."""


class Unavailable(CriwistError):
    """The engine, or another service that criwist needs, is away; a retry makes sense."""


class RegistryUnavailable(Unavailable):
    """A registry, or a proxy before it, is away for now (HTTP 502, 503 or 504)."""


class DeadlineExceeded(CriwistError):
    """A time limit ran out; the text names the limit and what is left behind."""


class Cancelled(CriwistError):
    """The caller went away; the text names what is left behind."""


class Unimplemented(CriwistError):
    """Neither Docker nor criwist can do this; callers may fall back to another way."""


class EngineFailure(CriwistError):
    """The engine tried and failed; the text is the engine's (its 5xx responses)."""


class PluginFailure(CriwistError):
    """A CNI plugin failed: the text names plugin, command and code."""


class Internal(CriwistError):
    """A bug in criwist."""
