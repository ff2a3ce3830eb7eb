"""Read the parts of a security context that pods and containers share."""

from __future__ import annotations

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.demo.sections import ManifestError, Section


def set_user(security: api.LinuxSandboxSecurityContext | api.LinuxContainerSecurityContext, context: Section) -> None:
    """Set user and group if the manifest names them."""
    if "runAsUser" in context:
        security.run_as_user.value = context.whole("runAsUser")
    if "runAsGroup" in context:
        security.run_as_group.value = context.whole("runAsGroup")


def supplemental_groups(context: Section) -> list[int]:
    """Return the pod's supplemental groups; ``fsGroup``, which owns its volumes, is one of them."""
    groups = context.wholes("supplementalGroups")
    return [*groups, context.whole("fsGroup")] if "fsGroup" in context else groups


def read_profile(context: Section, default: api.SecurityProfile.ProfileType) -> api.SecurityProfile:
    """Return the seccomp profile, *default* if the manifest has none."""
    section = context.section("seccompProfile")
    kind = section.text("type", api.SecurityProfile.ProfileType.Name(default))
    if kind not in ("RuntimeDefault", "Unconfined"):
        raise ManifestError(section.at("type"), "must be RuntimeDefault or Unconfined here")
    return api.SecurityProfile(profile_type=kind)
