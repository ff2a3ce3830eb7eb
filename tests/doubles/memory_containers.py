"""Containers of the memory engine: their states, their JSON documents and the engine's error texts.

Texts and status codes are those of Docker 20.10, which the contract tests compare with a real one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from criwist.wire.stdcopy import Stream
from tests.doubles.engine_server import Refusal
from tests.doubles.memory_events import NEVER, Events, Times, time_text
from tests.doubles.memory_images import Images
from tests.doubles.memory_processes import Process, Program

Document = dict[str, Any]
_DEFAULT_GRACE = 10


@define(eq=False)
class Container:
    """One container."""

    id: str
    name: str
    config: Document
    host_config: Document
    image_id: str
    created: int
    process: Process | None = None
    started_at: str = NEVER
    finished_at: str = NEVER
    status: str = "created"
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    execs: list[str] = field(factory=list)
    log: list[tuple[int, Stream, bytes]] = field(factory=list)

    @property
    def running(self) -> bool:
        """Whether its first process is running."""
        return self.process is not None and self.process.running

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, including those of the image."""
        return dict(self.config.get("Labels") or {})

    @property
    def argv(self) -> tuple[str, ...]:
        """Its command line."""
        return (*(self.config.get("Entrypoint") or ()), *(self.config.get("Cmd") or ()))

    def attributes(self, **more: str) -> dict[str, str]:
        """Return the attributes of its events, with *more*."""
        return {**self.labels, "image": str(self.config.get("Image", "")), "name": self.name, **more}

    def inspect(self) -> Document:
        """Return the document of ``GET /containers/{id}/json``."""
        running = self.running
        argv = self.argv
        return {
            "Id": self.id,
            "Created": time_text(self.created),
            "Path": argv[0] if argv else "",
            "Args": list(argv[1:]),
            "State": {
                "Status": self.status,
                "Running": running,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": self.oom_killed,
                "Dead": False,
                "Pid": self.process.pid if running and self.process else 0,
                "ExitCode": self.exit_code,
                "Error": self.error,
                "StartedAt": self.started_at,
                "FinishedAt": self.finished_at,
            },
            "Image": self.image_id,
            "ResolvConfPath": f"/memory/containers/{self.id}/resolv.conf",
            "HostnamePath": f"/memory/containers/{self.id}/hostname",
            "HostsPath": f"/memory/containers/{self.id}/hosts",
            "LogPath": f"/memory/containers/{self.id}/{self.id}-json.log",
            "Name": f"/{self.name}",
            "RestartCount": 0,
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": list(self.execs) or None,
            "HostConfig": self.host_config,
            "GraphDriver": {"Name": "overlay2", "Data": {"MergedDir": f"/memory/overlay2/{self.id}/merged"}},
            "Mounts": [_mount_point(mount) for mount in self.host_config.get("Mounts") or ()],
            "Config": self.config,
            "NetworkSettings": {"Networks": {}, "IPAddress": "", "Ports": {}},
        }

    def summary(self) -> Document:
        """Return its entry of ``GET /containers/json``."""
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": self.config.get("Image", ""),
            "ImageID": self.image_id,
            "Command": " ".join(self.argv),
            "Created": self.created // 10**9,
            "Ports": [],
            "Labels": self.labels,
            "State": self.status,
            "Status": f"{self.status.capitalize()}",
            "HostConfig": {"NetworkMode": self.host_config.get("NetworkMode", "default")},
            "NetworkSettings": {"Networks": {}},
            "Mounts": [],
        }


@define(eq=False)
class Containers:
    """All containers.  Methods raise :class:`Refusal` where the engine responds with an error."""

    _clock: IReactorTime
    _times: Times
    _events: Events
    _images: Images
    #: The scripts of commands, by command line; ``programs[()]`` stands for all others.
    programs: dict[tuple[str, ...], Program]
    all: dict[str, Container] = field(factory=dict, init=False)
    _numbers: count[int] = field(factory=lambda: count(1), init=False)
    pids: count[int] = field(factory=lambda: count(1000), init=False)

    def find(self, name: str) -> Container:
        """Return the container of this id, name or unambiguous id prefix."""
        for container in self.all.values():
            if name in (container.id, container.name, f"/{container.name}"):
                return container
        found = [container for container in self.all.values() if container.id.startswith(name)]
        if len(found) != 1:
            raise Refusal(404, f"No such container: {name}")
        return found[0]

    def listed(self, filters: Mapping[str, Sequence[str]]) -> list[Container]:
        """Return the containers that pass all filters, newest first."""
        newest_first = sorted(self.all.values(), key=lambda container: -container.created)
        return [container for container in newest_first if _passes(container, filters)]

    def create(self, name: str, body: Document) -> Container:
        """Create a container from the body of ``POST /containers/create``."""
        config = {key: value for key, value in body.items() if key not in ("HostConfig", "NetworkingConfig")}
        image = self._images.find(str(config.get("Image", "")), missing=_as_tagged)
        config.setdefault("Labels", {})
        config["Labels"] = {**(image.config.get("Labels") or {}), **(config["Labels"] or {})}
        for member in ("Entrypoint", "Cmd"):
            if not config.get(member) and not (member == "Cmd" and config.get("Entrypoint")):
                config[member] = image.config.get(member)
        number = next(self._numbers)
        container = Container(
            id=hashlib.sha256(f"container {number}".encode()).hexdigest(),
            name=name or f"nameless_{number}",
            config=config,
            host_config=dict(body.get("HostConfig") or {}),
            image_id=image.id,
            created=self._times.nanoseconds(),
        )
        if not container.argv:
            raise Refusal(400, "No command specified")
        self._claim(container.name)
        self.all[container.id] = container
        self._publish(container, "create")
        return container

    def start(self, container: Container) -> Callable[[], None]:
        """Start a container, and return the function that runs its program, to be called after the response."""
        mode = str(container.host_config.get("NetworkMode", ""))
        if mode.startswith("container:") and not self.find(mode.removeprefix("container:")).running:
            raise Refusal(409, f"cannot join network of a non running container: {mode.removeprefix('container:')}")
        program = self.programs.get(container.argv, self.programs[()])
        if program.refusal:
            container.exit_code, container.error = 127, program.refusal
            raise Refusal(400, program.refusal)
        process = Process(
            next(self.pids), program, lambda *output: container.log.append((self._times.nanoseconds(), *output))
        )
        container.process, container.status = process, "running"
        container.exit_code, container.error, container.finished_at = 0, "", NEVER
        container.started_at = self._times.text()
        process.when_ended(lambda code: self._ended(container, code))
        self._publish(container, "start")
        return process.run

    def stop(self, container: Container, grace: int | None, done: Callable[[], None]) -> None:
        """Stop a container, and call *done* when it has exited."""
        process = container.process
        if process is None or not process.running:
            raise Refusal(304, "")

        def stopped(code: int) -> None:
            self._publish(container, "stop")
            if kill.active():
                kill.cancel()
            done()

        signal = str(container.config.get("StopSignal") or "SIGTERM")
        kill = self._clock.callLater(_DEFAULT_GRACE if grace is None else grace, self.kill, container, "SIGKILL")
        process.when_ended(stopped)
        self.kill(container, signal)

    def kill(self, container: Container, signal: str) -> None:
        """Send *signal* to the first process."""
        if not container.running or container.process is None:
            raise Refusal(409, f"Cannot kill container: {container.id}: Container {container.id} is not running")
        self._publish(container, "kill", signal=signal)
        container.process.signal(signal)

    def remove(self, container: Container, *, force: bool) -> None:
        """Remove a container; with *force* a running one too."""
        if container.running and not force:
            raise Refusal(
                409,
                f"You cannot remove a running container {container.id}. "
                "Stop the container before attempting removal or force remove",
            )
        if container.running:
            self.kill(container, "KILL")
        del self.all[container.id]
        self._publish(container, "destroy")

    def rename(self, container: Container, name: str) -> None:
        """Give the container another name."""
        old = container.name
        self._claim(name, "Error when allocating new name: ")
        container.name = name
        self._publish(container, "rename", oldName=f"/{old}")

    def update(self, container: Container, body: Document) -> None:
        """Change the members of its HostConfig that *body* has."""
        container.host_config.update(body)
        self._publish(container, "update")

    def oom_kill(self, container: Container) -> None:
        """Kill the first process as the kernel's OOM killer does."""
        container.oom_killed = True
        self._publish(container, "oom")
        if container.process is not None:
            container.process.end(137)

    def _ended(self, container: Container, code: int) -> None:
        container.status, container.exit_code = "exited", code
        container.finished_at = self._times.text()
        self._publish(container, "die", exitCode=str(code))

    def _claim(self, name: str, prefix: str = "") -> None:
        for other in self.all.values():
            if other.name == name:
                raise Refusal(
                    409,
                    f'{prefix}Conflict. The container name "/{name}" is already in use by container "{other.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name.",
                )

    def _publish(self, container: Container, action: str, **attributes: str) -> None:
        self._events.publish("container", action, container.id, container.attributes(**attributes))


def _passes(container: Container, filters: Mapping[str, Sequence[str]]) -> bool:
    labels = container.labels
    for label in filters.get("label", ()):
        key, equals, value = label.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for name, value in (("id", container.id), ("status", container.status)):
        if name in filters and not any(value.startswith(wanted) for wanted in filters[name]):
            return False
    names = filters.get("name", ())
    return not names or any(wanted.strip("^/$") in container.name for wanted in names)


def _as_tagged(reference: str) -> str:
    """Return the engine's error text for a create whose image does not exist."""
    tagged = "@" in reference or ":" in reference.rpartition("/")[2]
    return f"No such image: {reference if tagged else reference + ':latest'}"


def _mount_point(mount: Document) -> Document:
    return {
        "Type": mount.get("Type", "bind"),
        "Source": mount.get("Source", ""),
        "Destination": mount.get("Target", ""),
        "Mode": "",
        "RW": not mount.get("ReadOnly", False),
        "Propagation": (mount.get("BindOptions") or {}).get("Propagation", "rprivate"),
    }
