"""Network configuration lists: the files in ``--cni-conf-dir``, and the choice of the pod network.

A ``.conflist`` is a list of plugins, a ``.conf`` or ``.json`` usually a single plugin, which is a list of one.  Of
all files the first valid one in the order of names is the pod network; an invalid one is skipped and reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from criwist.netconf.plugin_errors import (
    MalformedDocument,
    list_or_empty,
    object_or_empty,
    parse_json_object,
    text_or_empty,
)
from criwist.netconf.versions import DEFAULT_VERSION, SPEC_VERSIONS, newest_first

#: Endings of configuration files.
CONFIGURATION_SUFFIXES = (".conf", ".conflist", ".json")

#: Ending of the files that add plugins to a list.
ADDED_SUFFIX = ".conf"

#: Member of a list to which other files must not add plugins.
_ALONE = "loadOnlyInlinedPlugins"
#: Files that add plugins to the network of a name, by their own names, in order.
Added = Callable[[str], Mapping[str, bytes]]

#: The specification's form of network names.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*\Z")


@frozen
class Plugin:
    """One plugin of a list."""

    #: Name of the executable.
    type: str
    #: Names of the runtime arguments that it declares.
    capabilities: frozenset[str]
    #: Its whole configuration.
    document: Mapping[str, Any]

    @property
    def executables(self) -> tuple[str, ...]:
        """Return the executables that must exist: its own, and that of its address management if it names one."""
        ipam = self.document.get("ipam")
        delegate = ipam.get("type") if isinstance(ipam, dict) else None
        return (self.type, delegate) if isinstance(delegate, str) and delegate else (self.type,)


@frozen
class NetworkList:
    """A valid configuration list."""

    name: str
    #: Versions of the specification that the runtime may use for it, newest first; never empty.
    versions: tuple[str, ...]
    plugins: tuple[Plugin, ...]
    #: The list itself as JSON, as found or as made of a single plugin, for caches and records.
    text: str
    disable_check: bool = False
    disable_gc: bool = False
    #: Name of its file, for log texts.
    source: str = ""

    @property
    def capabilities(self) -> frozenset[str]:
        """Return the runtime arguments that at least one plugin declares."""
        return frozenset().union(*(plugin.capabilities for plugin in self.plugins))


@frozen
class Choice:
    """The pod network of a configuration directory, and its invalid files."""

    chosen: NetworkList | None
    #: The problem of each skipped file, by name.
    problems: Mapping[str, str]


def _nothing(network: str) -> Mapping[str, bytes]:
    return {}


def choose(files: Mapping[str, bytes], added: Added = _nothing) -> Choice:
    """Return the first valid list among *files* in name order; later files are not parsed."""
    problems: dict[str, str] = {}
    for name in sorted(name for name in files if name.endswith(CONFIGURATION_SUFFIXES)):
        try:
            return Choice(parse_list(files[name], source=name, added=added), problems)
        except MalformedDocument as problem:
            problems[name] = str(problem)
    return Choice(None, problems)


def parse_list(content: bytes | str, *, source: str = "", added: Added = _nothing) -> NetworkList:
    """Read a configuration list, or a single plugin's configuration as a list of one.

    :param added: plugins that other files add to the list of a name: contents by file name, in order.
    :raises MalformedDocument: it is neither, or of a version of the specification that is not known.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise MalformedDocument(f"it is not JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise MalformedDocument("it is not a JSON object")
    single = "plugins" not in document and not source.endswith(".conflist")
    if single:
        document = _list_of_one(document)
        content = json.dumps(document)
    name = text_or_empty(document.get("name"), "name")
    if not _NAME.match(name):
        raise MalformedDocument(f"its name is not a network name: {name!r}" if name else "it has no name")
    entries = list_or_empty(document.get("plugins"), "plugins")
    others = {} if single or _flag(document, _ALONE) else added(name)
    if others:
        entries = [*entries, *(_added(other, f"{name}/{file}") for file, other in others.items())]
        content = json.dumps(document | {"plugins": entries, _ALONE: True})
    if not entries:
        raise MalformedDocument("it has no plugins")
    return NetworkList(
        name=name,
        versions=_versions(document),
        plugins=tuple(_plugin(entry, f"plugins[{index}]") for index, entry in enumerate(entries)),
        text=content if isinstance(content, str) else content.decode("utf-8"),
        disable_check=_flag(document, "disableCheck"),
        disable_gc=_flag(document, "disableGC"),
        source=source,
    )


def _added(content: bytes, file: str) -> dict[str, Any]:
    try:
        return parse_json_object(content)
    except MalformedDocument as problem:
        raise MalformedDocument(f"{file}, which adds a plugin to it, is {problem}") from problem


def _list_of_one(plugin: dict[str, Any]) -> dict[str, Any]:
    document = {key: plugin[key] for key in ("name", "cniVersion", "cniVersions") if key in plugin}
    return document | {"plugins": [plugin]}


def _plugin(entry: object, where: str) -> Plugin:
    if entry is None:
        raise MalformedDocument(f"{where} is not an object")
    document = object_or_empty(entry, where)
    kind = text_or_empty(document.get("type"), f"{where}.type")
    if not kind:
        raise MalformedDocument(f"{where} has no type")
    if "/" in kind or kind in (".", ".."):
        raise MalformedDocument(f"{where}.type is not the name of a file: {kind!r}")
    capabilities = object_or_empty(document.get("capabilities"), f"{where}.capabilities")
    return Plugin(kind, frozenset(key for key, wanted in capabilities.items() if wanted is True), document)


def _versions(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The known ones of ``cniVersion`` and ``cniVersions`` (1.1.0: alternatives for runtimes of any age)."""
    alternatives = [
        text_or_empty(one, "cniVersions") for one in list_or_empty(document.get("cniVersions"), "cniVersions")
    ]
    single = text_or_empty(document.get("cniVersion"), "cniVersion")
    if not single and not alternatives:
        single = DEFAULT_VERSION
    versions = newest_first([single, *alternatives])
    if not versions:
        wanted = ", ".join(filter(None, [single, *alternatives]))
        raise MalformedDocument(f"it is of CNI version {wanted}, known are {SPEC_VERSIONS[0]} to {SPEC_VERSIONS[-1]}")
    return versions


def _flag(document: Mapping[str, Any], key: str) -> bool:
    """A boolean, which some configurations write as a string."""
    value = document.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise MalformedDocument(f"{key} is neither true nor false")
    return value
