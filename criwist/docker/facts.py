"""Read ``GET /version`` and ``GET /info`` into :class:`EngineFacts`, and negotiate the API version.

Every member may be absent or null: engines of all versions, and of other makers, are read by the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from criwist.engine_differences import NEWEST_API, OLDEST_API, ApiVersion, version_text
from criwist.errors import EngineFailure, FailedPrecondition
from criwist.interfaces.engine import EngineFacts, JSONObject, RuntimeFacts

#: Linux with mount_setattr(2), by which a runtime makes a mount read-only with all beneath it.
_RECURSIVE_READ_ONLY = (5, 12)
_OCI_FEATURES = "org.opencontainers.runtime-spec.features"
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"


def negotiated_version(version: JSONObject) -> ApiVersion:
    """Return the API version to speak with an engine that answered *version* to ``GET /version``.

    :raises FailedPrecondition: there is none; the text names the side that is too old.
    :raises EngineFailure: the answer names no version.
    """
    theirs = _api_version(version.get("ApiVersion"))
    if theirs is None:
        raise EngineFailure(f"the engine reports no API version: {version.get('ApiVersion')!r}")
    if theirs < OLDEST_API:
        raise FailedPrecondition(
            f"the engine {_text(version, 'Version') or 'at this address'} speaks Docker API {version_text(theirs)}; "
            f"{version_text(OLDEST_API)} (Docker 20.10) is the oldest that can be used"
        )
    least = _api_version(version.get("MinAPIVersion")) or (0, 0)
    if least > NEWEST_API:
        raise FailedPrecondition(
            f"the engine {_text(version, 'Version') or 'at this address'} speaks Docker API {version_text(least)} "
            f"and newer; {version_text(NEWEST_API)} is the newest known here"
        )
    return min(theirs, NEWEST_API)


def engine_facts(version: JSONObject, info: JSONObject) -> EngineFacts:
    """Return the facts in the two answers.  Errors as of :func:`negotiated_version`."""
    kernel = _text(info, "KernelVersion") or _text(version, "KernelVersion")
    return EngineFacts(
        id=_text(info, "ID"),
        version=_text(version, "Version") or _text(info, "ServerVersion"),
        api_version=negotiated_version(version),
        cgroup_driver=_text(info, "CgroupDriver") or "cgroupfs",
        cgroup_version=2 if _text(info, "CgroupVersion") == "2" else 1,
        default_runtime=_text(info, "DefaultRuntime") or "runc",
        runtimes={facts.name: facts for facts in _runtimes(info.get("Runtimes"), kernel)},
        security=frozenset(_security_names(info.get("SecurityOptions"))),
        root_directory=_text(info, "DockerRootDir") or "/var/lib/docker",
        storage_driver=_text(info, "Driver"),
        containerd_store=("driver-type", _CONTAINERD_STORE) in _pairs(info.get("DriverStatus")),
        logging_driver=_text(info, "LoggingDriver") or "json-file",
        kernel_version=kernel,
        operating_system=_text(info, "OperatingSystem"),
        architecture=_text(info, "Architecture") or _text(version, "Arch"),
        experimental=info.get("ExperimentalBuild") is True,
        live_restore=info.get("LiveRestoreEnabled") is True,
        swap_limit=info.get("SwapLimit") is not False,
    )


def _api_version(text: Any) -> ApiVersion | None:
    major, dot, minor = text.partition(".") if isinstance(text, str) else ("", "", "")
    return (int(major), int(minor)) if dot and major.isdecimal() and minor.isdecimal() else None


def _numbers(release: str) -> tuple[int, ...]:
    """Major and minor number of a kernel's release, ``6.1.0-25-amd64``; empty if it begins in another way."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else ()


def _text(document: JSONObject, member: str) -> str:
    value = document.get(member)
    return value if isinstance(value, str) else ""


def _pairs(value: Any) -> list[tuple[str, str]]:
    """A list of two-element lists, as Go's ``[][2]string`` comes."""
    rows = value if isinstance(value, list) else []
    return [(str(row[0]), str(row[1])) for row in rows if isinstance(row, list) and len(row) == 2]


def _security_names(options: Any) -> Iterator[str]:
    """``name=seccomp,profile=default`` names seccomp; engines before API 1.26 write ``seccomp`` alone."""
    for option in options if isinstance(options, list) else []:
        first = str(option).partition(",")[0]
        yield first.removeprefix("name=")


def _runtimes(value: Any, kernel: str) -> Iterator[RuntimeFacts]:
    """Yield the runtimes.  A runtime reports what it was built to do; the kernel's part is read from its release."""
    for name, runtime in value.items() if isinstance(value, dict) else ():
        features = _oci_features(runtime)
        mount_options = features.get("mountOptions")
        yield RuntimeFacts(
            name=name,
            recursive_read_only=isinstance(mount_options, list)
            and "rro" in mount_options
            and _numbers(kernel) >= _RECURSIVE_READ_ONLY,
            user_namespaces=_has_user_namespaces(features),
        )


def _oci_features(runtime: Any) -> JSONObject:
    """The runtime's ``features`` document (OCI runtime-spec, features.md); engines from 25 on report it as text."""
    status = runtime.get("status") if isinstance(runtime, dict) else None
    text = status.get(_OCI_FEATURES) if isinstance(status, dict) else None
    try:
        document = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _has_user_namespaces(features: JSONObject) -> bool:
    """Whether the runtime makes user namespaces and maps the ids of mounts into them; Kubernetes needs both."""
    linux = features.get("linux")
    if not isinstance(linux, dict):
        return False
    extensions = linux.get("mountExtensions")
    idmap = extensions.get("idmap") if isinstance(extensions, dict) else None
    enabled = isinstance(idmap, dict) and idmap.get("enabled") is True
    return enabled and "user" in (linux.get("namespaces") or ())
