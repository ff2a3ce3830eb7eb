"""Versions of the CNI specification, and the features of each that a runtime must know."""

from __future__ import annotations

from collections.abc import Iterable

from criwist.netconf.plugin_errors import MalformedDocument

#: Every released version, oldest first.
SPEC_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
#: The version of a configuration or result without ``cniVersion``.
DEFAULT_VERSION = "0.1.0"
#: The version of VERSION requests, and of criwist's own configurations.
PREFERRED_VERSION = "1.0.0"

_ORDER = {version: index for index, version in enumerate(SPEC_VERSIONS)}


def known(version: str) -> bool:
    """Return whether this package supports the version."""
    return version in _ORDER


def at_least(version: str, minimum: str) -> bool:
    """Return whether *version* is *minimum* or later; both must be known."""
    return _ORDER[version] >= _ORDER[minimum]


def has_previous_result_on_delete(version: str) -> bool:
    """0.4.0: DEL gets the result of ADD."""
    return at_least(version, "0.4.0")


def has_check(version: str) -> bool:
    """0.4.0: CHECK."""
    return at_least(version, "0.4.0")


def has_status(version: str) -> bool:
    """1.1.0: STATUS."""
    return at_least(version, "1.1.0")


def has_collection(version: str) -> bool:
    """1.1.0: GC."""
    return at_least(version, "1.1.0")


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """Return the known ones of *versions*, each once, newest first."""
    return tuple(version for version in reversed(SPEC_VERSIONS) if version in set(versions))


def read_supported_versions(document: object) -> tuple[str, ...]:
    """Return the versions in a plugin's answer to VERSION, in the plugin's order, unknown ones included.

    A plugin of version 0.2.0 that names none supports 0.1.0 and 0.2.0: the member is younger than the command.

    :raises MalformedDocument: it is not an answer to VERSION.
    """
    if not isinstance(document, dict) or not isinstance(document.get("cniVersion"), str):
        raise MalformedDocument("it is not an object with a cniVersion")
    versions = document.get("supportedVersions")
    if not versions and document["cniVersion"] == "0.2.0":
        return ("0.1.0", "0.2.0")
    if not versions or not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
        raise MalformedDocument("supportedVersions is not a list of versions")
    return tuple(versions)
