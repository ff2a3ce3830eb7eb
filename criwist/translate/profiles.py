"""Seccomp and AppArmor profiles, of which the CRI has two spellings each.

The older one is a string (``runtime/default``, ``unconfined``, ``localhost/<name>``), the newer one a
``SecurityProfile``.  A kubelet may send both; the message wins.  Both become one :class:`Profile` here, and
``security`` makes Docker's ``SecurityOpt`` of it.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument

_LOCALHOST = "localhost/"


class ProfileKind(Enum):
    """The kind of a requested profile."""

    #: The request names no profile.
    UNSET = "unset"
    RUNTIME_DEFAULT = "runtime default"
    UNCONFINED = "unconfined"
    LOCALHOST = "localhost"


@frozen
class Profile:
    """A requested profile."""

    kind: ProfileKind
    #: The CRI field with the request, for error messages.
    field: str
    #: Of a localhost profile: the absolute path of a seccomp profile, the name of an AppArmor profile.
    reference: str = ""


def seccomp_profile(context: pb.LinuxSandboxSecurityContext | pb.LinuxContainerSecurityContext, field: str) -> Profile:
    """Return the seccomp profile that *context* requests.

    :param field: path of *context* in the request.
    :raises InvalidArgument: an unknown kind of profile, or a localhost profile that is not an absolute path.
    """
    if context.HasField("seccomp"):
        profile = _from_message(context.seccomp, f"{field}.seccomp")
    else:
        profile = _from_string(context.seccomp_profile_path, f"{field}.seccomp_profile_path", "docker/default")
    if profile.kind is ProfileKind.LOCALHOST and not profile.reference.startswith("/"):
        raise InvalidArgument(profile.field, f"must name an absolute path, not {profile.reference!r}")
    return profile


def apparmor_profile(context: pb.LinuxSandboxSecurityContext | pb.LinuxContainerSecurityContext, field: str) -> Profile:
    """Return the AppArmor profile that *context* requests.

    The string ``runtime/default`` is "equivalent to not specifying a profile" (CRI), and so is unset here.
    A localhost profile's name may begin with ``localhost/`` in the message too.

    :param field: path of *context* in the request.
    :raises InvalidArgument: an unknown kind of profile, or a localhost profile without a name.
    """
    if context.HasField("apparmor"):
        profile = _from_message(context.apparmor, f"{field}.apparmor")
    elif isinstance(context, pb.LinuxContainerSecurityContext):
        profile = _from_string(context.apparmor_profile, f"{field}.apparmor_profile")
        if profile.kind is ProfileKind.RUNTIME_DEFAULT:
            profile = Profile(ProfileKind.UNSET, profile.field)
    else:
        profile = Profile(ProfileKind.UNSET, field)
    if profile.kind is ProfileKind.LOCALHOST:
        name = profile.reference.removeprefix(_LOCALHOST)
        if not name:
            raise InvalidArgument(profile.field, "must name a loaded AppArmor profile")
        return Profile(profile.kind, profile.field, name)
    return profile


def _from_message(message: pb.SecurityProfile, field: str) -> Profile:
    kinds = {
        pb.SecurityProfile.RuntimeDefault: ProfileKind.RUNTIME_DEFAULT,
        pb.SecurityProfile.Unconfined: ProfileKind.UNCONFINED,
        pb.SecurityProfile.Localhost: ProfileKind.LOCALHOST,
    }
    kind = kinds[message.profile_type]
    if kind is not ProfileKind.LOCALHOST:
        if message.localhost_ref:
            raise InvalidArgument(f"{field}.localhost_ref", "must be empty unless profile_type is Localhost")
        return Profile(kind, field)
    return Profile(kind, f"{field}.localhost_ref", message.localhost_ref)


def _from_string(text: str, field: str, *default_names: str) -> Profile:
    if not text:
        return Profile(ProfileKind.UNSET, field)
    if text in ("runtime/default", *default_names):
        return Profile(ProfileKind.RUNTIME_DEFAULT, field)
    if text == "unconfined":
        return Profile(ProfileKind.UNCONFINED, field)
    if text.startswith(_LOCALHOST):
        return Profile(ProfileKind.LOCALHOST, field, text.removeprefix(_LOCALHOST))
    raise InvalidArgument(field, f"must be runtime/default, unconfined or localhost/<profile>, not {text!r}")
