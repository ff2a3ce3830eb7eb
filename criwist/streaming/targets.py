"""The requests that tokens stand for, and the protocol versions of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from criwist.interfaces.streaming import RemoteCommand
from criwist.wire.remote_status import RemoteStatus

#: Versions of the remote command protocol over SPDY, best first.  v4 ends with a Status document, older ones with
#: text; v3 added the resize stream; v1 and v2 are alike to a server that half-closes.
REMOTE_COMMAND_VERSIONS: Final = (
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
PORT_FORWARD_VERSIONS: Final = ("portforward.k8s.io",)
#: The WebSocket sub-protocol of a port-forward over SPDY inside the WebSocket.
TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"


@frozen
class Exec:
    """Run a command."""

    command: RemoteCommand


@frozen
class Attach:
    """Attach to a container."""

    command: RemoteCommand


@frozen
class PortForward:
    """Forward ports of a sandbox.

    :param ports: those of the CRI request, which only WebSocket channels need.
    """

    sandbox_id: str
    ports: tuple[int, ...] = ()


Request = Exec | Attach | PortForward

#: The first segment of the URL's path.
PATHS: Final[dict[type[Request], str]] = {Exec: "exec", Attach: "attach", PortForward: "portforward"}


def status_encoder(documents: bool) -> Callable[[RemoteStatus], bytes]:
    """Return the function that encodes a remote command's status: as a document, or as text."""
    return RemoteStatus.document if documents else RemoteStatus.text
