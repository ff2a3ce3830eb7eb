"""One call of one plugin: what it finds in its environment and on its standard input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from criwist.netconf.lists import NetworkList, Plugin


@frozen
class Attachment:
    """A pod's interface on a network: the same for ADD, CHECK and DEL, but for a namespace that is gone."""

    container_id: str
    #: Path of the network namespace; ``""``: it is gone, which DEL must cope with.
    netns: str
    interface: str
    #: CNI_ARGS, in order.
    arguments: tuple[tuple[str, str], ...] = ()
    #: Runtime arguments by capability.
    capability_arguments: Mapping[str, Any] = field(factory=dict)


def environment(command: str, attachment: Attachment | None, path: Sequence[str]) -> dict[str, str]:
    """The ``CNI_…`` variables of a call.

    :param attachment: None for VERSION, STATUS and GC, which are about no pod.
    :param path: directories in which plugins are looked for.
    """
    variables = {"CNI_COMMAND": command, "CNI_PATH": ":".join(path)}
    if attachment is not None:
        variables |= {
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": attachment.interface,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.arguments),
        }
    return variables


def configuration(
    network: NetworkList,
    plugin: Plugin,
    version: str,
    *,
    attachment: Attachment | None = None,
    previous: Mapping[str, Any] | None = None,
    valid_attachments: Sequence[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """What a plugin reads: its own configuration, and the list's name, the version and the call's facts over it.

    :param previous: a result of *version*: of the plugin before for ADD, of the last ADD for CHECK and DEL.
    :param valid_attachments: for GC: container id and interface of each attachment that is to stay.
    """
    document = dict(plugin.document) | {"name": network.name, "cniVersion": version}
    if previous is not None:
        document["prevResult"] = previous
    if attachment is not None:
        wanted = {name: value for name, value in attachment.capability_arguments.items() if name in plugin.capabilities}
        if wanted:
            document["runtimeConfig"] = wanted
    if valid_attachments is not None:
        entries = [{"containerID": container_id, "ifname": interface} for container_id, interface in valid_attachments]
        # The specification's text and the reference library once disagreed on the name; plugins read either.
        document["cni.dev/valid-attachments"] = entries
        document["cni.dev/attachments"] = entries
    return document
