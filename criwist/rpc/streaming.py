"""The CRI's Exec, Attach and PortForward: each request gets a URL of the streaming server."""

from __future__ import annotations

from attrs import define

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.interfaces.streaming import IStreamingRuntime, RemoteCommand
from criwist.streaming.server import StreamingServer
from criwist.streaming.targets import Attach, Exec, PortForward
from criwist.translate import field_rules


@define(eq=False)
class StreamingUrls:
    """Makes the URLs.  Errors are those of IStreamingRuntime's ``admit_`` methods and of the server."""

    _runtime: IStreamingRuntime
    _server: StreamingServer

    async def exec_url(self, request: pb.ExecRequest) -> str:
        """Return the URL at which a client can run the command."""
        command = RemoteCommand(
            container_id=request.container_id,
            command=tuple(request.cmd),
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
        )
        return self._server.url(Exec(await self._runtime.admit_exec(command)))

    async def attach_url(self, request: pb.AttachRequest) -> str:
        """Return the URL at which a client can attach to the container."""
        command = RemoteCommand(
            container_id=request.container_id,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
        )
        return self._server.url(Attach(await self._runtime.admit_attach(command)))

    async def port_forward_url(self, request: pb.PortForwardRequest) -> str:
        """Return the URL at which a client can forward ports of the sandbox."""
        for port in request.port:
            field_rules.port(port, "port")
        sandbox_id = await self._runtime.admit_port_forward(request.pod_sandbox_id)
        return self._server.url(PortForward(sandbox_id, tuple(request.port)))
