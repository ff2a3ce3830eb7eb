"""The seams: what the core may expect of its adapters, and the values that cross them.

A seam is an interface where two providers exist: the real one and the double that unit tests use, both held to
one contract by ``criwist.testing``.  Everything here is called on the reactor's thread.  Coroutine methods are
awaited; cancelling the Deferred that runs one cancels the I/O beneath it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from socket import socket
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface

#: A decoded JSON object of the Engine API.  Unknown members are there and are ignored; absent ones are
#: tolerated.
JSONObject = Mapping[str, Any]


# -- Docker Engine -------------------------------------------------------------------------------------------


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

    Errors: ``NotFound`` (404), ``InvalidArgument`` (400; field ``docker``), ``FailedPrecondition`` (409),
    ``PermissionDenied`` (401, 403), ``EngineFailure`` (5xx, and what cannot be understood), ``Unavailable``
    (cannot connect, connection
    lost before an answer), ``DeadlineExceeded`` (the call's own time limit, seconds).  304 is success.
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


# -- Pod networks --------------------------------------------------------------------------------------------


@frozen
class PortMapping:
    """A host port that leads to a port of a pod."""

    #: ``tcp``, ``udp``, ``sctp``.
    protocol: str
    container_port: int
    host_port: int
    #: ``""``: every address of the host.
    host_ip: str = ""


@frozen
class PodNetworkRequest:
    """Whom a network is asked for.  Teardown is asked with the same value as set-up, from the sandbox's record."""

    sandbox_id: str
    name: str
    namespace: str
    uid: str
    annotations: Mapping[str, str] = field(factory=dict)
    port_mappings: tuple[PortMapping, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    #: As kubelet gives it, for plugins that account by cgroup.
    cgroup_parent: str = ""


@frozen
class PodNetwork:
    """A network that stands."""

    #: In the plugin's order, without prefix lengths.
    addresses: tuple[str, ...] = ()
    #: What teardown needs, JSON-able, opaque to all but the provider; kept in the sandbox's record.
    record: Mapping[str, Any] = field(factory=dict)


@frozen
class NetworkCondition:
    """NetworkReady: whether pods can get a network now, and if not, why, in words to act on."""

    ready: bool
    #: CamelCase word, ``""`` when ready.
    reason: str = ""
    message: str = ""


class IPodNetwork(Interface):
    """How pods that are not on the host's network get one."""

    name = Attribute("str: cni, kubenet, bridge, host; stored in the sandbox's record")
    docker_network_mode = Attribute("str: HostConfig.NetworkMode of a sandbox: none, bridge, host")
    publishes_ports = Attribute("bool: the engine is to publish the pod's host ports")

    def condition() -> NetworkCondition:
        """NetworkReady as known now; answers from memory, callable from any thread."""

    undecided = Attribute("bool: condition() does not tell yet what was found, and first_look() may help; any thread")

    async def first_look() -> None:
        """Return when :meth:`condition` tells what was found, and not that nobody has looked yet.

        At once from then on.  A look that takes long is waited for within reason, by all callers together;
        ``undecided`` is False afterwards in any case.
        """

    async def set_up(request: PodNetworkRequest, pause: JSONObject) -> PodNetwork:
        """Give the running sandbox its network.  All or nothing: what a failed set-up made is undone here.

        :param pause: the pause container as inspected after its start.
        """

    async def tear_down(request: PodNetworkRequest, network: PodNetwork | None, pause: JSONObject | None) -> None:
        """Release everything.  Idempotent; what is gone already is no error.

        :param network: as recorded; None if the record is lost or set-up never finished.
        :param pause: as inspected now; None if it is gone.
        """

    def recall(request: PodNetworkRequest, pause: JSONObject) -> PodNetwork | None:
        """The network that a running sandbox stands on whose record is lost or was an older shim's; None if unknown.

        Reads files and *pause*, runs nothing; for adoption, not for every status call.
        """

    async def update_pod_cidr(pod_cidr: str) -> None:
        """UpdateRuntimeConfig's CIDR, one or two parted by a comma, validated."""

    async def reconcile(known: Mapping[str, PodNetworkRequest]) -> None:
        """Called at start: release what is left of sandboxes not in *known* (by sandbox id)."""

    def verbose() -> Mapping[str, Any]:
        """What Status(verbose) shows of it: configuration in force, last error.  JSON-able."""


# -- Sandbox records -----------------------------------------------------------------------------------------


@frozen
class SandboxRecord:
    """What Docker cannot remember of a sandbox.  One file each; written before the sandbox is reported ready."""

    sandbox_id: str
    request: PodNetworkRequest
    #: ``IPodNetwork.name`` that set the network up.
    network_plugin: str
    #: None until set-up is done.
    network: PodNetwork | None = None
    host_network: bool = False
    #: As asked for in RunPodSandbox.
    runtime_handler: str = ""
    log_directory: str = ""
    hostname: str = ""
    #: The pod's containers were to share one PID namespace (NamespaceMode POD); False: each has its own, or the host's.
    shared_pid: bool = False
    #: The network was torn down: the sandbox is not ready whatever its pause does.
    stopped: bool = False


class ISandboxRecords(Interface):
    """Sandbox records that outlive us.  Synchronous: a record is small, and its fsync is the point."""

    def save(record: SandboxRecord, *, durable: bool = True) -> None:
        """Write, atomically and durably.  Replaces.

        :param durable: False: it need not outlive the machine, only us.
        """

    def load(sandbox_id: str) -> SandboxRecord | None:
        """The record, or None if there is none; a damaged one is logged, set aside and None."""

    def remove(sandbox_id: str) -> None:
        """Remove.  Idempotent."""

    def identifiers() -> Sequence[str]:
        """Ids of all sandboxes that have a record, those of older shims included."""


# -- Container logs ------------------------------------------------------------------------------------------


@frozen
class LoggedContainer:
    """A container whose log is wanted."""

    container_id: str
    #: Absolute path kubelet reads.
    path: str
    tty: bool
    #: The engine's ``LogPath``; ``""`` before the first start, and unless the driver is json-file.
    engine_path: str = ""
    #: ``HostConfig.LogConfig.Type``.
    driver: str = "json-file"
    running: bool = True
    #: Not made by us: the log path is a symlink and stays one.
    adopted: bool = False


class IContainerLogs(Interface):
    """The CRI log files of containers."""

    def container_options() -> JSONObject:
        """``HostConfig.LogConfig`` for a new container; empty: the daemon's default."""

    def follow(container: LoggedContainer) -> None:
        """The container is about to be started, runs, or was found at our start or at a meeting with the engine.

        Called before the engine is told to start it (``running`` False), so that the file is there and the first byte
        is seen, and again once it runs (``running`` True), which spares sources that know nothing of a start their
        asking.  Idempotent, and cheap for a container that is followed already.  Trouble is logged and tried again.
        """

    async def settled(container_id: str) -> None:
        """Return when the file holds all that the exited container wrote, or after two seconds at most.

        Not followed: at once.
        """

    async def reopen(container_id: str) -> None:
        """Close and open the file at its path.  Not followed, or the file cannot be had: ``FailedPrecondition``."""

    async def forget(container_id: str) -> None:
        """The container is removed: write what there is yet, stop following, drop the position; the file stays.

        Idempotent.  Two seconds at most.
        """

    async def reconcile(known: Collection[str]) -> None:
        """Forget all containers that are not in *known*: those that were removed behind our back, or while we were
        down.
        """

    def stop() -> None:
        """We end: record how far each log is and close the files.  A restart after SIGKILL does without."""


# -- The kernel ----------------------------------------------------------------------------------------------


class IProcesses(Interface):
    """Processes of the host, named by the engine's pids."""

    async def kill_tree(pid: int, container: str = "") -> int:
        """SIGKILL *pid* and all its descendants, those it left to a reaper included where they can be told.

        Returns how many were signalled; 0 if it is gone already.

        :param container: the 64-digit id; a process whose cgroup does not carry it is somebody else's, who has got
            the number since, or lives on another host than the engine, and is left alone: 0.
        """


class ILayerMounts(Interface):
    """Read-only trees made of an image's layers.  Each has a place, ``<container name>/<number>``, and a label.

    Errors: ``PermissionDenied`` (we may not mount), ``FailedPrecondition`` (the kernel cannot, or a layer is not on
    this machine).
    """

    async def mount(place: str, layers: Sequence[str], label: str) -> None:
        """Mount *layers*, top layer first, at a place where nothing is mounted.

        The label outlives us, see :meth:`mounted`.
        """

    async def unmount(place: str) -> None:
        """Take the tree away; containers that have it keep it.  Idempotent."""

    async def resolve(place: str, sub_path: str) -> str:
        """The host path of a file in a mounted tree; ``""``: of the tree.  No link in the tree leads out of it.

        Not there: ``InvalidArgument`` (``image_sub_path``).
        """

    async def mounted() -> Mapping[str, str]:
        """Place to label of every tree that is mounted, by whichever life of ours."""


# -- Streaming -----------------------------------------------------------------------------------------------


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
