"""One call of one plugin: its environment and its standard input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from criwist.netconf.lists import NetworkList, Plugin


@frozen
class Attachment:
    """A pod's interface on a network: the same for ADD, CHECK and DEL, except for a namespace that is gone."""

    container_id: str
    #: Path of the network namespace; ``""``: it is gone, which DEL must handle.
    netns: str
    interface: str
    #: CNI_ARGS, in order.
    arguments: tuple[tuple[str, str], ...] = ()
    #: Runtime arguments by capability.
    capability_arguments: Mapping[str, Any] = field(factory=dict)


def environment(command: str, attachment: Attachment | None, path: Sequence[str]) -> dict[str, str]:
    """Return the ``CNI_…`` variables of a call.

    :param attachment: None for VERSION, STATUS and GC, which concern no pod.
    :param path: directories with plugins.
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
    """Return a plugin's standard input: its own configuration with the list's name, the version and the call's data.

    :param previous: a result of *version*: of the plugin before for ADD, of the last ADD for CHECK and DEL.
    :param valid_attachments: for GC: container id and interface of each attachment that must stay.
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
        # The specification's text and the reference library once disagreed on the name; plugins read one of the two.
        document["cni.dev/valid-attachments"] = entries
        document["cni.dev/attachments"] = entries
    return document
