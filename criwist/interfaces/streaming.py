"""The streams of containers and the ports of sandboxes, as the streaming server needs them."""

from __future__ import annotations

from socket import socket

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


@frozen
class RemoteCommand:
    """The streams that the CRI's Exec or Attach asks for, validated: see ``IStreamingRuntime``."""

    container_id: str
    #: Of an exec; empty for attach.
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class IRemoteProcess(Interface):
    """A process of a container whose streams are attached to a client's session.  On the reactor's thread."""

    stream = Attribute("IHijackedStream: not started")
    half_closes = Attribute("bool: closing the client's direction of the stream is EOF for the process, and only that")

    async def resize(*, height: int, width: int) -> None:
        """Set the terminal's size.  One call at a time; a process that has ended is no error."""

    async def ended(output_ended: Deferred[None]) -> int | None:
        """Return the exit code when the process has ended; None if the session has ended without one.

        :param output_ended: fires when the stream has ended; the process may still be running then.
        """

    async def hang_up() -> None:
        """Drop the stream of a client that has disconnected.

        The process of an exec gets EOF, or SIGHUP if it has a terminal; an attached container goes on.
        """


class IStreamingRuntime(Interface):
    """Commands, attachments and ports.  All methods are called on the reactor's thread; error texts reach the user."""

    async def admit_exec(request: RemoteCommand) -> RemoteCommand:
        """Return the request with its container's full id, if the command can be run now.

        :raises InvalidArgument: no stream at all, a terminal with stderr, no command.
        :raises NotFound: no such container.
        :raises FailedPrecondition: the container is not running.
        """

    async def admit_attach(request: RemoteCommand) -> RemoteCommand:
        """Like admit_exec, for attach; ``tty`` must be the container's."""

    async def admit_port_forward(sandbox_id: str) -> str:
        """Return the sandbox's full id.

        :raises NotFound: no such sandbox.
        :raises FailedPrecondition: the sandbox is not running.
        """

    async def exec(request: RemoteCommand) -> IRemoteProcess:
        """Start an admitted command.  Cancelling stops it, as far as the engine can."""

    async def attach(request: RemoteCommand) -> IRemoteProcess:
        """Attach to an admitted container."""

    async def connect_port(sandbox_id: str, port: int) -> socket:
        """Return a connected, non-blocking TCP socket to a port on the sandbox's loopback; the caller closes it."""
