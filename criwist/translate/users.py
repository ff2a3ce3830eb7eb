"""The user and groups of a container's process: Docker's ``User`` and ``GroupAdd``.

Docker reads ``User`` as ``user[:group]``.  Without a group, it finds the user in the image's ``/etc/passwd`` and adds
every group of ``/etc/group`` that lists the user; *with* a group it adds none.  The groups of ``GroupAdd`` come on top.

The CRI's policy ``Merge`` wants the image's groups in either case, ``Strict`` in neither.  So if the request names no
group under ``Strict``, or names one under ``Merge``, the outcome depends on two files of the image:
:func:`accounts_wanted` detects that, and the caller passes them as :class:`Accounts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument

#: The engine takes ids from 0 to this.
GREATEST_ID = 2**31 - 1


@frozen
class Accounts:
    """The image's ``/etc/passwd`` and ``/etc/group``; empty where the image has none."""

    passwd: bytes = b""
    group: bytes = b""
    #: ``Config.User`` of the image.
    image_user: str = ""


@frozen
class _Wanted:
    """The user and group in the request."""

    user: str
    group: str
    groups: tuple[int, ...]
    strict: bool
    field: str


def sandbox_user(context: pb.LinuxSandboxSecurityContext, field: str) -> dict[str, object]:
    """Return ``User`` and ``GroupAdd`` of a sandbox's pause container.

    The policy for supplemental groups is about the groups of an image's user.  Here the image is the pause image, whose
    program has no use for groups, so both policies give the same result.

    :raises InvalidArgument: a group without a user, or an id out of range.
    """
    wanted = _wanted(context, field, username="")
    return _body(wanted, wanted.groups)


def accounts_wanted(context: pb.LinuxContainerSecurityContext, field: str) -> bool:
    """Return whether :func:`container_user` needs the image's :class:`Accounts`.

    :raises InvalidArgument: as :func:`container_user`.
    """
    wanted = _wanted(context, field, username=context.run_as_username)
    return wanted.strict != bool(wanted.group)


def container_user(
    context: pb.LinuxContainerSecurityContext, field: str, *, accounts: Accounts | None
) -> dict[str, object]:
    """Return ``User`` and ``GroupAdd`` of a workload container; empty: the image's user.

    :param field: path of *context* in the request.
    :param accounts: of the image; may be None unless :func:`accounts_wanted`.
    :raises InvalidArgument: a group without a user ("otherwise, the runtime MUST error", CRI), a user by name and
        by number, or an id out of range.
    :raises FailedPrecondition: accounts are needed and missing.
    """
    wanted = _wanted(context, field, username=context.run_as_username)
    if wanted.strict == bool(wanted.group):
        return _body(wanted, wanted.groups)
    if accounts is None:
        raise FailedPrecondition(
            f"{field}.supplemental_groups_policy: cannot be applied, since the image's /etc/passwd and /etc/group "
            "could not be read"
        )
    user, _, group = (wanted.user or accounts.image_user).partition(":")
    if not wanted.strict:
        name, _ = _passwd_entry(accounts.passwd, user)
        merged = (*wanted.groups, *(gid for gid in _groups_of(accounts.group, name) if gid not in wanted.groups))
        return _body(wanted, merged)
    if not group:
        _, gid = _passwd_entry(accounts.passwd, user)
        group = str(gid)
    return _body(_Wanted(user or "0", group, wanted.groups, strict=True, field=field), wanted.groups)


def _wanted(
    context: pb.LinuxSandboxSecurityContext | pb.LinuxContainerSecurityContext, field: str, *, username: str
) -> _Wanted:
    has_user = context.HasField("run_as_user")
    if has_user and username:
        raise InvalidArgument(f"{field}.run_as_username", "must be empty when run_as_user is given")
    if ":" in username:
        raise InvalidArgument(f"{field}.run_as_username", f"{username!r} is not a user's name")
    user = str(_checked(context.run_as_user.value, f"{field}.run_as_user")) if has_user else username
    group = ""
    if context.HasField("run_as_group"):
        if not user:
            raise InvalidArgument(f"{field}.run_as_group", "must not be given without run_as_user or run_as_username")
        group = str(_checked(context.run_as_group.value, f"{field}.run_as_group"))
    groups = tuple(
        _checked(gid, f"{field}.supplemental_groups[{index}]") for index, gid in enumerate(context.supplemental_groups)
    )
    return _Wanted(user, group, groups, context.supplemental_groups_policy == pb.Strict, field)


def _checked(number: int, field: str) -> int:
    if not 0 <= number <= GREATEST_ID:
        raise InvalidArgument(field, f"must be from 0 to {GREATEST_ID}, not {number}")
    return number


def _body(wanted: _Wanted, groups: Sequence[int]) -> dict[str, object]:
    body: dict[str, object] = {}
    if wanted.user:
        body["User"] = f"{wanted.user}:{wanted.group}" if wanted.group else wanted.user
    if groups:
        body["GroupAdd"] = [str(gid) for gid in groups]
    return body


def _passwd_entry(passwd: bytes, user: str) -> tuple[str, int]:
    """Name and primary group of *user*, a name or a number (``""``: root); ``("", 0)`` if the file lacks it."""
    wanted = user or "0"
    for line in passwd.decode("utf-8", "surrogateescape").splitlines():
        parts = line.strip().split(":")
        if len(parts) >= 4 and wanted in (parts[0], parts[2]) and parts[3].isascii() and parts[3].isdigit():
            return parts[0], int(parts[3])
    return "", 0


def _groups_of(group: bytes, name: str) -> list[int]:
    """Ids of the groups that list *name* as a member, in the file's order."""
    result: list[int] = []
    for line in group.decode("utf-8", "surrogateescape").splitlines():
        parts = line.strip().split(":")
        if len(parts) >= 4 and name and name in parts[3].split(",") and parts[2].isascii() and parts[2].isdigit():
            result.append(int(parts[2]))
    return result
