"""Files of libcni's cache: one for each existing attachment.

``<cache dir>/results/<network>-<container id>-<interface>`` holds the list that ADD ran, its arguments and its
result.  With it a runtime that takes the node over can run DEL for pods that it did not make: criwist for cri-dockerd's
pods, and the other way round.  The oldest form is the bare result.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from criwist.netconf.invocations import Attachment
from criwist.netconf.plugin_errors import MalformedDocument, list_or_empty, object_or_empty, text_or_empty

_KIND = "cniCacheV1"


@frozen
class Cached:
    """The contents of an attachment's cache file."""

    network: str
    #: The configuration list as JSON, or a single plugin's.
    configuration: str
    attachment: Attachment
    result: Mapping[str, Any] | None


def cache_file_name(network: str, container_id: str, interface: str) -> str:
    """Return the file's name below ``results``."""
    return f"{network}-{container_id}-{interface}"


def write_cached(cached: Cached) -> str:
    """Return the content of a cache file."""
    attachment = cached.attachment
    document: dict[str, Any] = {
        "kind": _KIND,
        "containerId": attachment.container_id,
        "config": base64.b64encode(cached.configuration.encode("utf-8")).decode("ascii"),
        "ifName": attachment.interface,
        "networkName": cached.network,
    }
    optional = {
        "netns": attachment.netns,
        "cniArgs": [list(pair) for pair in attachment.arguments],
        "capabilityArgs": dict(attachment.capability_arguments),
        "result": cached.result,
    }
    return json.dumps(document | {key: value for key, value in optional.items() if value})


def read_cached(content: bytes) -> Cached:
    """Read a cache file of libcni 0.8 or later.

    :raises MalformedDocument: it is something else.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise MalformedDocument(f"it is not JSON: {problem}") from problem
    if not isinstance(document, dict) or document.get("kind") != _KIND:
        raise MalformedDocument(f"it is not of kind {_KIND}")
    try:
        configuration = base64.b64decode(text_or_empty(document.get("config"), "config"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise MalformedDocument("config is not text in base64") from problem
    result = document.get("result")
    return Cached(
        network=text_or_empty(document.get("networkName"), "networkName"),
        configuration=configuration,
        attachment=Attachment(
            container_id=text_or_empty(document.get("containerId"), "containerId"),
            netns=text_or_empty(document.get("netns"), "netns"),
            interface=text_or_empty(document.get("ifName"), "ifName"),
            arguments=tuple(_pair(item) for item in list_or_empty(document.get("cniArgs"), "cniArgs")),
            capability_arguments=object_or_empty(document.get("capabilityArgs"), "capabilityArgs"),
        ),
        result=None if result is None else object_or_empty(result, "result"),
    )


def _pair(item: object) -> tuple[str, str]:
    pair = list_or_empty(item, "cniArgs")
    if len(pair) != 2:
        raise MalformedDocument("cniArgs is not a list of pairs")
    return text_or_empty(pair[0], "cniArgs"), text_or_empty(pair[1], "cniArgs")
