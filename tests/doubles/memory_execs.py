"""Execs of the memory engine.

A command without a script exits at once with code 0.
"""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

from attrs import define, field

from criwist.wire.stdcopy import Stream
from tests.doubles.engine_server import Exchange, Refusal
from tests.doubles.memory_containers import Container, Containers
from tests.doubles.memory_events import Events
from tests.doubles.memory_processes import AttachedClient, Process, Program

Document = dict[str, Any]
_STREAMS = {"AttachStdin": Stream.STDIN, "AttachStdout": Stream.STDOUT, "AttachStderr": Stream.STDERR}


@define(eq=False)
class Exec:
    """One exec."""

    id: str
    container: Container
    config: Document
    process: Process | None = None
    #: Height and width of the latest resize.
    size: tuple[int, int] | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """Its command line."""
        return tuple(self.config.get("Cmd") or ())

    def inspect(self) -> Document:
        """Return the document of ``GET /exec/{id}/json``."""
        process = self.process
        return {
            "ID": self.id,
            "Running": process is not None and process.running,
            "ExitCode": None if process is None else process.exit_code,
            "ProcessConfig": {
                "tty": bool(self.config.get("Tty")),
                "entrypoint": self.argv[0],
                "arguments": list(self.argv[1:]),
                "privileged": bool(self.config.get("Privileged")),
            },
            "OpenStdin": bool(self.config.get("AttachStdin")),
            "OpenStderr": bool(self.config.get("AttachStderr")),
            "OpenStdout": bool(self.config.get("AttachStdout")),
            "CanRemove": False,
            "ContainerID": self.container.id,
            "DetachKeys": "",
            "Pid": 0 if process is None else process.pid,
        }


@define(eq=False)
class Execs:
    """All execs.  Methods raise :class:`Refusal` where the engine responds with an error."""

    _containers: Containers
    _events: Events
    _programs: dict[tuple[str, ...], Program]
    all: dict[str, Exec] = field(factory=dict, init=False)
    _numbers: count[int] = field(factory=lambda: count(1), init=False)

    def find(self, exec_id: str) -> Exec:
        """Return the exec of this id."""
        if exec_id not in self.all:
            raise Refusal(404, f"No such exec instance: {exec_id}")
        return self.all[exec_id]

    def create(self, container: Container, body: Document) -> Exec:
        """Create an exec from the body of ``POST /containers/{id}/exec``."""
        if not container.running:
            raise Refusal(409, f"Container {container.id} is not running")
        if not body.get("Cmd"):
            raise Refusal(400, "No exec command specified")
        identifier = hashlib.sha256(f"exec {next(self._numbers)}".encode()).hexdigest()
        made = Exec(identifier, container, dict(body))
        self.all[identifier] = made
        container.execs.append(identifier)
        self._publish(made, f"exec_create: {' '.join(made.argv)}")
        return made

    def start(self, one: Exec, exchange: Exchange) -> None:
        """Start it attached: the connection becomes its input and output."""
        if one.process is not None:
            raise Refusal(409, f"Error: Exec command {one.id} has already run")
        container = one.container
        if not container.running or container.process is None:
            raise Refusal(409, f"Container {container.id} is not running")
        process = Process(
            next(self._containers.pids), self._programs.get(one.argv, Program(exit_code=0)), lambda *output: None
        )
        one.process = process
        streams = frozenset(stream for member, stream in _STREAMS.items() if one.config.get(member))
        self._publish(one, f"exec_start: {' '.join(one.argv)}")
        process.when_ended(lambda code: self._ended(one, code))
        container.process.when_ended(lambda _: process.end(137))
        exchange.upgrade(AttachedClient(process, streams=streams, raw=bool(one.config.get("Tty"))))
        if process.program.refusal:
            # The engine writes the error of an exec that cannot start to its output; the exit code is the shell's.
            process.say(Stream.STDOUT, process.program.refusal.encode())
            process.end(126)
        else:
            process.run()

    def _ended(self, one: Exec, code: int) -> None:
        if one.id in one.container.execs:
            one.container.execs.remove(one.id)
        self._publish(one, "exec_die", exitCode=str(code))

    def _publish(self, one: Exec, action: str, **attributes: str) -> None:
        attributes = one.container.attributes(execID=one.id, **attributes)
        self._events.publish("container", action, one.container.id, attributes)
