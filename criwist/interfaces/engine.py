"""The Docker Engine: its API, and the facts about the engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface

#: A decoded JSON object of the Engine API.  Unknown members are present and ignored; absent ones are tolerated.
JSONObject = Mapping[str, Any]


@frozen
class RuntimeFacts:
    """An OCI runtime of the engine.  Features are False unless the engine reports them."""

    name: str
    recursive_read_only: bool = False
    user_namespaces: bool = False


@frozen
class EngineFacts:
    """The engine as of the last connection: ``GET /version`` and ``GET /info``."""

    id: str = ""
    version: str = ""
    #: The version in use, ``(1, 41)`` and up: the lower of the engine's and criwist's.
    api_version: tuple[int, int] = (1, 41)
    #: ``cgroupfs`` or ``systemd``.
    cgroup_driver: str = "cgroupfs"
    #: 1 or 2.
    cgroup_version: int = 1
    default_runtime: str = "runc"
    runtimes: Mapping[str, RuntimeFacts] = field(factory=dict)
    #: Names from ``SecurityOptions``: ``seccomp``, ``apparmor``, ``selinux``, ``userns``,
    #: ``cgroupns``, ``rootless``.
    security: frozenset[str] = frozenset()
    root_directory: str = "/var/lib/docker"
    #: Storage driver: ``overlay2``, or ``overlayfs`` with the containerd image store.
    storage_driver: str = "overlay2"
    containerd_store: bool = False
    logging_driver: str = "json-file"
    kernel_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    experimental: bool = False
    live_restore: bool = False
    swap_limit: bool = True


class IHijackedStream(Interface):
    """A connection that has left HTTP and carries a container's bytes both ways.

    It is paused until :meth:`start`; bytes that the engine sends meanwhile are kept.  All methods are called on the
    reactor's thread.
    """

    multiplexed = Attribute("bool: output is in stdcopy frames (no TTY); False: raw bytes of a terminal")

    def start(protocol: IProtocol) -> None:
        """Connect *protocol* to the stream.

        It gets ``makeConnection`` with an ITransport that also is an IPushProducer, an IConsumer and an
        IHalfCloseableDescriptor, then ``dataReceived`` with the engine's raw bytes, then ``connectionLost`` once.
        If it provides IHalfCloseableProtocol, ``readConnectionLost`` reports the engine's EOF.
        """

    def abort() -> None:
        """Drop the connection now, started or not.  Idempotent."""


class IDocker(Interface):
    """The Docker Engine API, one method for each call.

    All methods are called on the reactor's thread; :attr:`facts` may be read from any thread.

    Errors: ``NotFound`` (404), ``InvalidArgument`` (400; field ``docker``), ``FailedPrecondition`` (409),
    ``PermissionDenied`` (401, 403), ``EngineFailure`` (5xx, and responses that cannot be parsed), ``Unavailable``
    (cannot connect, or the connection is lost before the response), ``DeadlineExceeded`` (the call's own time limit,
    seconds).  304 is success.  A conflict over a name is ``NameConflict``, one over an image's use ``ImageInUse``.
    """

    facts = Attribute("EngineFacts | None: as of the last connect(); None before")

    async def connect() -> EngineFacts:
        """Read /version and /info, negotiate the API version, set :attr:`facts` and return them.  Repeatable.

        :raises FailedPrecondition: the engine is older than API 1.41.
        """

    async def ping() -> None:
        """Return when the engine responds."""

    async def info() -> JSONObject:
        """Return ``GET /info`` unchanged."""

    async def containers(filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """Return ``GET /containers/json?all=1``."""

    async def inspect_container(container: str) -> JSONObject:
        """Return ``GET /containers/{id}/json``, never with size."""

    async def create_container(name: str, body: JSONObject) -> str:
        """Create a container; return the 64-digit id.  The engine's warnings are logged.

        :raises NameConflict: another container has the name.
        :raises CapabilityUnavailable: ``CapDrop`` has a capability that the engine does not have.
        """

    async def start_container(container: str) -> None:
        """Start a container.  Idempotent."""

    async def stop_container(container: str, grace: int) -> None:
        """Send the stop signal, after *grace* seconds SIGKILL; return when the container has ended.  Idempotent.

        A grace of 0 is SIGKILL at once, without a stop signal.  The time limit is *grace* and a margin.
        """

    async def kill_container(container: str, signal: str) -> None:
        """Send a signal, named ``KILL`` or ``SIGKILL``.

        :raises FailedPrecondition: the container is not running.
        """

    async def remove_container(container: str, *, force: bool, volumes: bool) -> None:
        """Remove a container, with its anonymous volumes if *volumes*; return when it is gone.

        If another request is removing it already, the removal is awaited.
        """

    async def rename_container(container: str, name: str) -> None:
        """Rename a container.

        :raises NameConflict: another container has the name.
        """

    async def update_container(container: str, body: JSONObject) -> None:
        """Change a container's resources: ``POST /containers/{id}/update``."""

    async def resize_container(container: str, *, height: int, width: int) -> None:
        """Set the terminal size of a running TTY container."""

    async def attach_container(
        container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> IHijackedStream:
        """Attach to a running container's streams, without earlier output."""

    async def logs(container: str, parameters: Mapping[str, str]) -> Any:
        """Return ``GET /containers/{id}/logs``: an IResponse with a body for a protocol, with back-pressure.

        No time limit.  The body ends with the container (``follow``), or after the last line that exists.
        """

    async def archive(container: str, path: str) -> bytes:
        """Return ``GET /containers/{id}/archive``: a tar of *path* in the container, which need not run.

        A link is archived as a link.  A missing path is ``NotFound``, like a missing container.
        """

    async def has_path(container: str, path: str) -> bool:
        """Return whether *path* exists in the container, which need not run; False for a missing container."""

    async def create_exec(container: str, body: JSONObject) -> str:
        """Create an exec; return its id.

        :raises FailedPrecondition: the container is not running.
        """

    async def start_exec(exec_id: str, *, tty: bool) -> IHijackedStream:
        """Start an exec, attached to its streams."""

    async def inspect_exec(exec_id: str) -> JSONObject:
        """Return ``GET /exec/{id}/json``: Running, ExitCode (None while running), Pid (on the host)."""

    async def resize_exec(exec_id: str, *, height: int, width: int) -> None:
        """Set the terminal size of a started TTY exec."""

    async def images(filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """Return ``GET /images/json``."""

    async def inspect_image(reference: str) -> JSONObject:
        """Return ``GET /images/{name}/json``."""

    async def image_layers(reference: str) -> Sequence[str]:
        """Return the directories of an image's unpacked layers on the engine's machine, top layer first.

        :raises FailedPrecondition: the engine's storage has no such directories, or does not report them.
        """

    async def image_history(reference: str) -> Sequence[JSONObject]:
        """Return ``GET /images/{name}/history``."""

    async def remove_image(reference: str, *, force: bool, prune: bool) -> None:
        """Remove a reference; with the last one, or by id, the image.

        :raises ImageInUse: a container uses the image, or another image was built from it.
        """

    async def tag_image(reference: str, *, repository: str, tag: str) -> None:
        """Add a reference to an image."""

    async def pull_image(reference: str, auth: JSONObject | None, progress: Callable[[JSONObject], None]) -> None:
        """Pull an image: ``POST /images/create``.  *progress* gets every JSON message.

        It returns when the stream has ended without an error message.  No time limit: cancelling drops the connection,
        on which the engine cancels the pull.

        :raises RegistryUnavailable: the registry is away for now.
        :raises RegistryDenied: the registry wants other credentials.
        """

    async def load_image(archive: bytes, progress: Callable[[JSONObject], None]) -> None:
        """Load a docker-archive tar: ``POST /images/load``."""

    async def events(since: str, connected: Callable[[], None], deliver: Callable[[JSONObject], None]) -> None:
        """Follow ``GET /events`` from *since* (``seconds.nanoseconds``, ``""``: from now).

        *connected* is called once when the engine has responded, *deliver* for each event in order.  It never returns:
        it raises ``Unavailable`` when the feed breaks.
        """

    async def create_checkpoint(container: str, body: JSONObject) -> None:
        """Create a checkpoint: ``POST /containers/{id}/checkpoints`` (experimental engines)."""
