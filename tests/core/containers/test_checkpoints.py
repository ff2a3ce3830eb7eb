"""Checkpoints: made by the engine, packed at the requested location, without leftovers."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.containers.checkpoints import DEFAULT_TIMEOUT, Checkpoints
from criwist.errors import (
    CriwistError,
    DeadlineExceeded,
    EngineFailure,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
    Unimplemented,
)
from criwist.interfaces.engine import EngineFacts
from criwist.threads import run_to_its_end
from tests.core.memory_node import NoContainerProcesses
from tests.doubles.memory_threads import MemoryThreads

ID = "c" * 64
_INSPECTED = {
    "Id": ID,
    "Name": "/k8s_c_pod_ns_uid_0",
    "Image": "sha256:" + "1" * 64,
    "Created": "2026-01-02T03:04:05.678Z",
    "State": {"Running": True},
    "Config": {"Image": "busybox:1"},
    "HostConfig": {"Runtime": "runc"},
}


@define
class Engine:
    """The calls of IDocker that a checkpoint needs; writes two files as CRIU does."""

    facts: EngineFacts | None = field(factory=lambda: EngineFacts(experimental=True))
    inspected: dict[str, Any] = field(factory=lambda: dict(_INSPECTED))
    fault: CriwistError | None = None
    writes: bool = True
    pause: Deferred[None] | None = None
    asked: list[dict[str, Any]] = field(factory=list)

    async def inspect_container(self, container: str) -> dict[str, Any]:
        """Return the container."""
        return self.inspected

    async def create_checkpoint(self, container: str, body: dict[str, Any]) -> None:
        """Write CRIU's images, after the pause if there is one."""
        self.asked.append(body)
        if self.pause is not None:
            await self.pause
        if self.fault is not None:
            raise self.fault
        if self.writes:
            directory = os.path.join(body["CheckpointDir"], body["CheckpointID"])
            os.mkdir(directory)
            for name in ("inventory.img", "pages-1.img"):
                with open(os.path.join(directory, name), "w") as file:
                    file.write(name)


class CheckpointTests(SynchronousTestCase):
    """Checkpoints on an engine in memory."""

    def setUp(self) -> None:
        """Make a directory for kubelet's archives and one for staging."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.staging = f"{directory.name}/checkpoints"
        self.kubelet = f"{directory.name}/kubelet"
        os.mkdir(self.kubelet)
        self.location = f"{self.kubelet}/checkpoint-pod.tar"
        self.engine = Engine()
        self.clock = Clock()
        threads = MemoryThreads()
        in_thread = partial(run_to_its_end, threads, threads)
        docker: Any = self.engine
        self.checkpoints = Checkpoints(docker, self.clock, NoContainerProcesses(), in_thread, self.staging)

    def take(self, timeout: float = 0, location: str | None = None) -> Deferred[None]:
        """Make a checkpoint."""
        location = self.location if location is None else location
        return Deferred.fromCoroutine(self.checkpoints.checkpoint(ID, location, timeout))

    def assertNothingLeft(self) -> None:
        """Assert that there is no staging, no archive and no timer."""
        self.assertEqual(os.listdir(self.staging) if os.path.exists(self.staging) else [], [])
        self.assertEqual(os.listdir(self.kubelet), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_archive(self) -> None:
        """The archive has CRIU's images and describes their container; only its owner can read it."""
        self.successResultOf(self.take())
        [body] = self.engine.asked
        self.assertEqual((body["CheckpointID"], body["Exit"]), ("checkpoint", False))
        with tarfile.open(self.location) as tar:
            names = sorted(tar.getnames())
            described = json.load(tar.extractfile("config.dump") or self.fail("no config.dump"))
        self.assertEqual(names, ["checkpoint", "checkpoint/inventory.img", "checkpoint/pages-1.img", "config.dump"])
        self.assertEqual((described["id"], described["name"]), (ID, "k8s_c_pod_ns_uid_0"))
        self.assertEqual(os.stat(self.location).st_mode & 0o777, 0o600)
        os.unlink(self.location)
        self.assertNothingLeft()

    def test_not_experimental(self) -> None:
        """With an engine that is not experimental the RPC is Unimplemented, whatever else is wrong."""
        self.engine.facts = EngineFacts()
        self.failureResultOf(self.take(location=""), Unimplemented)
        self.engine.facts = None
        self.failureResultOf(self.take(), Unavailable)
        self.assertEqual(self.engine.asked, [])

    def test_no_criu(self) -> None:
        """With an engine without CRIU, which its error shows, the RPC is Unimplemented."""
        self.engine.fault = EngineFailure('CRIU version check failed: exec: "criu": executable file not found in $PATH')
        self.failureResultOf(self.take(), Unimplemented)
        self.assertNothingLeft()

    def test_criu_fails(self) -> None:
        """An error of CRIU has the engine's text."""
        self.engine.fault = EngineFailure("criu failed: type DUMP errno 0")
        failure = self.failureResultOf(self.take(), EngineFailure)
        self.assertIn("type DUMP", str(failure.value))
        self.assertNothingLeft()

    def test_locations(self) -> None:
        """The location must be a file's absolute path in a directory that exists."""
        for location in ("", "relative.tar", self.kubelet, f"{self.kubelet}/none/x.tar"):
            failure = self.failureResultOf(self.take(location=location), InvalidArgument)
            self.assertEqual(failure.value.field, "location")
        self.failureResultOf(self.take(timeout=-1), InvalidArgument)
        self.assertEqual(self.engine.asked, [])

    def test_not_running(self) -> None:
        """A container that is not running is a FailedPrecondition."""
        self.engine.inspected |= {"State": {"Running": False}}
        self.failureResultOf(self.take(), FailedPrecondition)
        self.assertNothingLeft()

    def test_engine_elsewhere(self) -> None:
        """When the engine has written nothing here, the error names the cause: another machine."""
        self.engine.writes = False
        failure = self.failureResultOf(self.take(), FailedPrecondition)
        self.assertIn("another machine", str(failure.value))
        self.assertNothingLeft()

    def test_timeout(self) -> None:
        """After the timeout the engine's call is cancelled and the caller gets DeadlineExceeded."""
        for asked, limit in ((7.0, 7.0), (0, DEFAULT_TIMEOUT)):
            self.engine.pause = Deferred()
            taking = self.take(asked)
            self.clock.advance(limit - 0.5)
            self.assertNoResult(taking)
            self.clock.advance(1)
            self.failureResultOf(taking, DeadlineExceeded)
            self.assertNothingLeft()

    def test_caller_gives_up(self) -> None:
        """A cancelled call leaves nothing behind."""
        self.engine.pause = Deferred()
        taking = self.take()
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        self.assertNothingLeft()

    def test_disk_full(self) -> None:
        """The error of an archive that cannot be written names its location."""
        os.mkdir(self.staging)
        location = f"/proc/{os.getpid()}/checkpoint.tar"
        failure = self.failureResultOf(self.take(location=location), FailedPrecondition)
        self.assertIn(location, str(failure.value))
        self.assertNothingLeft()

    def test_clear(self) -> None:
        """clear() removes what a crash has left, and may be called again."""
        os.makedirs(f"{self.staging}/abc/checkpoint")
        self.checkpoints.clear()
        self.checkpoints.clear()
        self.assertFalse(os.path.exists(self.staging))
