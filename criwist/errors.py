"""The one error taxonomy.

Every fault that has a name is one of these.  ``docker.error_responses`` turns an engine's answer into one of them,
``rpc.status_codes`` turns one of them into a gRPC status; between the two nobody looks at status codes.
The message is a sentence for an operator: it names the thing and what is wrong with it.
"""

from __future__ import annotations


class CriwistError(Exception):
    """A fault with a name.  ``str(error)`` is fit to be shown to the user as it is."""


class InvalidArgument(CriwistError):
    """The request is wrong in itself, whatever the state of the node.

    :param field: path of the field at fault, in the CRI's spelling: ``config.metadata.name``.
    :param problem: what is wrong with it: ``must not be empty``.
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
    """A name is taken; the text says by what."""


class FailedPrecondition(CriwistError):
    """The request is well formed, but the thing is in a state that does not allow it."""


class NameConflict(FailedPrecondition):
    """Another container has the name that a create or a rename requests.

    :param holder: the 64-digit id of that container.
    """

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class ImageInUse(FailedPrecondition):
    """The engine keeps an image, or its last reference, because a container uses it."""


class PermissionDenied(CriwistError):
    """Somebody else refused for want of rights: a registry, the engine's authorization plugin."""


class RegistryDenied(PermissionDenied):
    """A registry wants other credentials than it got."""


class ResourceExhausted(CriwistError):
    """A limit of ours is reached; the text names the limit."""


class Unavailable(CriwistError):
    """The engine, or something else that we need, is away; trying again later makes sense."""


class RegistryUnavailable(Unavailable):
    """A registry, or a proxy before it, is away for now (HTTP 502, 503 or 504)."""


class DeadlineExceeded(CriwistError):
    """A time limit ran out; the text says which, and what is left behind."""


class Cancelled(CriwistError):
    """The caller went away; the text says what is left behind."""


class Unimplemented(CriwistError):
    """Docker cannot do this, or we do not; callers may fall back on something else."""


class EngineFailure(CriwistError):
    """The engine tried and failed, with the engine's own words (its 5xx answers)."""


class PluginFailure(CriwistError):
    """A CNI plugin failed: the text names plugin, command and code."""


class Internal(CriwistError):
    """A fault of our own."""
