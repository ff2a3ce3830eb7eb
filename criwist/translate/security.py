"""Docker's ``SecurityOpt`` from a CRI security context: seccomp, AppArmor, SELinux labels, no-new-privileges.

Privileged containers get no seccomp option: "Seccomp restrictions are not applied" to them (CRI), and the engine
confines none by itself.  They do get AppArmor and SELinux options, since an operator who names a profile or a type for
a privileged container intends it.

Every engine gets SELinux labels.  On a host without SELinux there is nothing to label, and a pod that names a label
runs there as it does under any other runtime; the option stays visible in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import FailedPrecondition, InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.translate.profiles import Profile, ProfileKind, apparmor_profile, seccomp_profile

#: A line for each profile that the kernel has: its name and, in parentheses, its mode.  Where securityfs is not mounted
#: there is no such file, and only the engine knows.
LOADED_PROFILES = "/sys/kernel/security/apparmor/profiles"

SecurityContext = pb.LinuxSandboxSecurityContext | pb.LinuxContainerSecurityContext


def needed_profiles(context: SecurityContext, field: str, *, privileged: bool) -> tuple[str, ...]:
    """Return absolute paths of the files whose bytes :func:`seccomp_options` and :func:`apparmor_options` need.

    :raises InvalidArgument: as the functions in :mod:`criwist.translate.profiles`.
    """
    seccomp, apparmor = seccomp_profile(context, field), apparmor_profile(context, field)
    paths = (seccomp.reference,) if seccomp.kind is ProfileKind.LOCALHOST and not privileged else ()
    return (*paths, LOADED_PROFILES) if apparmor.kind is ProfileKind.LOCALHOST else paths


def seccomp_options(
    profile: Profile, *, privileged: bool, engine: EngineFacts, files: Mapping[str, bytes]
) -> list[str]:
    """Return the seccomp option for *profile*: none for the engine's default, else the profile's text unaltered.

    :param profile: kind UNSET is unconfined (CRI).
    :param files: bytes of the localhost profile, by path; a path that is missing does not exist.
    :raises FailedPrecondition: the profile's file does not exist, or the kernel has no seccomp.
    :raises InvalidArgument: the profile is not text.
    """
    if privileged:
        return []
    if profile.kind in (ProfileKind.UNSET, ProfileKind.UNCONFINED):
        return ["seccomp=unconfined"]
    if "seccomp" not in engine.security:
        raise FailedPrecondition(f"{profile.field}: the engine's kernel has no seccomp")
    if profile.kind is ProfileKind.RUNTIME_DEFAULT:
        return []
    content = files.get(profile.reference)
    if content is None:
        raise FailedPrecondition(f"{profile.field}: the seccomp profile {profile.reference!r} does not exist")
    try:
        return [f"seccomp={content.decode('utf-8')}"]
    except UnicodeDecodeError:
        raise InvalidArgument(profile.field, f"the seccomp profile {profile.reference!r} is not UTF-8 text") from None


def apparmor_options(profile: Profile, *, engine: EngineFacts, files: Mapping[str, bytes]) -> list[str]:
    """Return the AppArmor option for *profile*; none for the engine's default.

    Without these checks the engine would fail to start the container, with a text that does not name the profile.

    :param files: bytes of ``LOADED_PROFILES``, if that file exists.
    :raises FailedPrecondition: the kernel has no AppArmor, or has not loaded the requested profile.
    """
    if profile.kind is ProfileKind.UNSET:
        return []
    enabled = "apparmor" in engine.security
    if profile.kind is ProfileKind.UNCONFINED:
        return ["apparmor=unconfined"] if enabled else []
    if not enabled:
        raise FailedPrecondition(f"{profile.field}: the engine's kernel has no AppArmor")
    if profile.kind is not ProfileKind.LOCALHOST:
        return []
    if not _may_be_loaded(profile.reference, files.get(LOADED_PROFILES)):
        raise FailedPrecondition(f"{profile.field}: the AppArmor profile {profile.reference!r} is not loaded")
    return [f"apparmor={profile.reference}"]


def _may_be_loaded(name: str, loaded: bytes | None) -> bool:
    """Whether the kernel may know this profile; it resolves names that stack profiles or name a namespace itself."""
    if loaded is None or "//&" in name or name.startswith(":"):
        return True
    return name in {line.rpartition(" (")[0] for line in loaded.decode("utf-8", "replace").splitlines()}


def selinux_options(option: pb.SELinuxOption) -> list[str]:
    """Return the label options for *option*; the engine chooses the empty parts."""
    parts = (("user", option.user), ("role", option.role), ("type", option.type), ("level", option.level))
    return [f"label={name}:{value}" for name, value in parts if value]


def sandbox_security_options(
    context: pb.LinuxSandboxSecurityContext, field: str, *, engine: EngineFacts, files: Mapping[str, bytes]
) -> list[str]:
    """Return ``SecurityOpt`` of a sandbox's pause container.

    It never gains privileges, and without a seccomp profile in the request it gets the engine's default: only the
    pause program runs in it.
    """
    profile = seccomp_profile(context, field)
    options = ["no-new-privileges"]
    if profile.kind is not ProfileKind.UNSET:
        options += seccomp_options(profile, privileged=False, engine=engine, files=files)
    options += apparmor_options(apparmor_profile(context, field), engine=engine, files=files)
    return options + selinux_options(context.selinux_options)


def container_security_options(
    context: pb.LinuxContainerSecurityContext, field: str, *, engine: EngineFacts, files: Mapping[str, bytes]
) -> list[str]:
    """Return ``SecurityOpt`` of a workload container."""
    options = ["no-new-privileges"] if context.no_new_privs else []
    options += seccomp_options(
        seccomp_profile(context, field), privileged=context.privileged, engine=engine, files=files
    )
    options += apparmor_options(apparmor_profile(context, field), engine=engine, files=files)
    return options + selinux_options(context.selinux_options)
