"""What the streaming server asks of the core."""

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
    """A process of a container whose streams are attached to a client's session."""

    stream = Attribute("IHijackedStream: not started")
    half_closes = Attribute("bool: closing our direction of the stream is EOF for the process, and only that")

    async def resize(*, height: int, width: int) -> None:
        """Tell the process's terminal its size.  One call at a time; a process that has ended is no error."""

    async def ended(output_ended: Deferred[None]) -> int | None:
        """Return the exit code when the process has ended; None if the session has an end, but no code.

        :param output_ended: fires when the stream has; the process may well live on then.
        """

    async def hang_up() -> None:
        """The client went away: drop the stream.  What an exec started gets EOF, or SIGHUP if it has a terminal; a
        container that was attached to goes on.
        """


class IStreamingRuntime(Interface):
    """What the streaming server asks of the core.  Errors as everywhere; the text reaches the user."""

    async def admit_exec(request: RemoteCommand) -> RemoteCommand:
        """The request with its container's full id, if it may be carried out now.

        :raises InvalidArgument: no stream at all, a terminal with stderr, no command.
        :raises NotFound: no such container.
        :raises FailedPrecondition: it does not run.
        """

    async def admit_attach(request: RemoteCommand) -> RemoteCommand:
        """As admit_exec; ``tty`` must be the container's."""

    async def admit_port_forward(sandbox_id: str) -> str:
        """The sandbox's full id.

        :raises NotFound: no such sandbox.
        :raises FailedPrecondition: it does not run.
        """

    async def exec(request: RemoteCommand) -> IRemoteProcess:
        """Start an admitted command.  Cancelling leaves nothing of it behind that the engine lets us stop."""

    async def attach(request: RemoteCommand) -> IRemoteProcess:
        """Attach to an admitted container."""

    async def connect_port(sandbox_id: str, port: int) -> socket:
        """A connected, non-blocking TCP socket to the port on the sandbox's loopback; the caller closes it."""
