"""The Docker Engine: its API, and what is known of the engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface

#: A decoded JSON object of the Engine API.  Unknown members are there and are ignored; absent ones are
#: tolerated.
JSONObject = Mapping[str, Any]


@frozen
class RuntimeFacts:
    """What the engine says of one OCI runtime; features are False unless it says otherwise."""

    name: str
    recursive_read_only: bool = False
    user_namespaces: bool = False


@frozen
class EngineFacts:
    """What is known of the engine since the last connection: ``GET /version`` and ``GET /info``."""

    id: str = ""
    version: str = ""
    #: The version in use, ``(1, 41)`` and up: the lesser of the engine's and ours.
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

    It is paused until :meth:`start`; nothing that the engine sent meanwhile is lost.
    """

    multiplexed = Attribute("bool: output is in stdcopy frames (no TTY); False: raw bytes of a terminal")

    def start(protocol: IProtocol) -> None:
        """Connect *protocol*: it gets ``makeConnection`` with an ITransport that also is an IPushProducer, an
        IConsumer and an IHalfCloseableDescriptor, then ``dataReceived`` with the engine's raw bytes, then
        ``connectionLost`` once.  If it provides IHalfCloseableProtocol it is told of the engine's EOF.
        """

    def abort() -> None:
        """Drop the connection now, started or not.  Idempotent."""


class IDocker(Interface):
    """The Docker Engine API, one method a call.

    All methods are called on the reactor's thread; :attr:`facts` may be read from any thread.

    Errors: ``NotFound`` (404), ``InvalidArgument`` (400; field ``docker``), ``FailedPrecondition`` (409),
    ``PermissionDenied`` (401, 403), ``EngineFailure`` (5xx, and responses that cannot be parsed), ``Unavailable``
    (cannot connect, or the connection is lost before the response), ``DeadlineExceeded`` (the call's own time limit,
    seconds).  304 is success.  A conflict over a name is ``NameConflict``, one over an image's use ``ImageInUse``.
    """

    facts = Attribute("EngineFacts | None: as of the last connect(); None before")

    async def connect() -> EngineFacts:
        """Ask /version and /info anew, negotiate the API version, remember and return the facts.  Repeatable.

        An engine older than API 1.41: ``FailedPrecondition`` that says so.
        """

    async def ping() -> None:
        """Return if the engine answers."""

    async def info() -> JSONObject:
        """``GET /info`` as it is."""

    async def containers(filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """``GET /containers/json?all=1``."""

    async def inspect_container(container: str) -> JSONObject:
        """``GET /containers/{id}/json``, never with size."""

    async def create_container(name: str, body: JSONObject) -> str:
        """Create; returns the 64-digit id.  The engine's warnings are logged.  Name taken: ``FailedPrecondition``."""

    async def start_container(container: str) -> None:
        """Start; already running is success."""

    async def stop_container(container: str, grace: int) -> None:
        """Stop signal, *grace* seconds, SIGKILL; returns when it is down.  Already stopped is success.

        A grace of 0 is SIGKILL at once, without a stop signal.

        The time limit is *grace* and a margin.
        """

    async def kill_container(container: str, signal: str) -> None:
        """Send a signal, ``KILL`` or ``SIGKILL`` style; a container that does not run: ``FailedPrecondition``."""

    async def remove_container(container: str, *, force: bool, volumes: bool) -> None:
        """Remove, with its anonymous volumes if *volumes*."""

    async def rename_container(container: str, name: str) -> None:
        """Rename."""

    async def update_container(container: str, body: JSONObject) -> None:
        """``POST /containers/{id}/update``."""

    async def resize_container(container: str, *, height: int, width: int) -> None:
        """Terminal size of a running TTY container."""

    async def attach_container(
        container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> IHijackedStream:
        """Attach to the running streams; no old output."""

    async def logs(container: str, parameters: Mapping[str, str]) -> Any:
        """``GET /containers/{id}/logs``; an IResponse whose body may be delivered to a protocol, with back-pressure.

        No time limit; the body ends when the container does (``follow``) or at the end of what there is.
        """

    async def archive(container: str, path: str) -> bytes:
        """``GET /containers/{id}/archive``: a tar of what is at *path* in the container, which need not run.

        A link is archived as a link.  No such path: ``NotFound``, as of no such container.
        """

    async def has_path(container: str, path: str) -> bool:
        """Whether there is anything at *path* in the container, which need not run; False if there is no container."""

    async def create_exec(container: str, body: JSONObject) -> str:
        """Create an exec; returns its id.  A container that does not run: ``FailedPrecondition``."""

    async def start_exec(exec_id: str, *, tty: bool) -> IHijackedStream:
        """Start it attached."""

    async def inspect_exec(exec_id: str) -> JSONObject:
        """``GET /exec/{id}/json``: Running, ExitCode (None while running), Pid (on the host)."""

    async def resize_exec(exec_id: str, *, height: int, width: int) -> None:
        """Terminal size of a started TTY exec."""

    async def images(filters: Mapping[str, Sequence[str]]) -> Sequence[JSONObject]:
        """``GET /images/json``."""

    async def inspect_image(reference: str) -> JSONObject:
        """``GET /images/{name}/json``."""

    async def image_layers(reference: str) -> Sequence[str]:
        """Return the directories of an image's unpacked layers on the engine's machine, top layer first.

        :raises FailedPrecondition: the engine's storage has no such directories, or does not report them.
        """

    async def image_history(reference: str) -> Sequence[JSONObject]:
        """``GET /images/{name}/history``."""

    async def remove_image(reference: str, *, force: bool, prune: bool) -> None:
        """Untag or remove."""

    async def tag_image(reference: str, *, repository: str, tag: str) -> None:
        """Tag."""

    async def pull_image(reference: str, auth: JSONObject | None, progress: Callable[[JSONObject], None]) -> None:
        """``POST /images/create``; *progress* gets every JSON message; returns when the stream has ended well.

        An error message in the stream, or an error status, raises.  No time limit: cancelling drops the
        connection, on which the engine cancels the pull.
        """

    async def load_image(archive: bytes, progress: Callable[[JSONObject], None]) -> None:
        """``POST /images/load``: a docker-archive tar."""

    async def events(since: str, connected: Callable[[], None], deliver: Callable[[JSONObject], None]) -> None:
        """``GET /events`` from *since* (``seconds.nanoseconds``, ``""``: from now).

        *connected* is called once when the engine has answered, *deliver* for each event in order.  Never returns
        normally: raises ``Unavailable`` when the feed breaks.
        """

    async def create_checkpoint(container: str, body: JSONObject) -> None:
        """``POST /containers/{id}/checkpoints`` (experimental engines)."""
