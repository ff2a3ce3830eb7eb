"""CheckpointContainer: write the state of a running container to an archive, with the engine's CRIU support.

Only an experimental engine (``dockerd --experimental``) makes checkpoints, with CRIU installed beside it.  The engine
pauses the container meanwhile.

1. The engine writes CRIU's images to a staging directory of criwist, so that no checkpoint stays with the container.
2. criwist packs them to the requested location, in the layout that containerd and CRI-O use and ``checkpointctl``
   reads: ``checkpoint/`` has CRIU's images, ``config.dump`` describes their container, ``spec.dump`` is its OCI
   specification.  These runtimes also add the changes to the root file system, which the Engine API does not return.
3. The staging directory is removed in any case.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from criwist import errors
from criwist.core.containers.checkpoint_archive import write_archive
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.interfaces.kernel import IContainerProcesses
from criwist.translate.engine_json import flag, number, text

#: Seconds for a request without a timeout: long enough to write some tens of GiB to a disk.
DEFAULT_TIMEOUT = 600.0

#: The name of the checkpoint in the engine, and of its directory in the archive.
_NAME = "checkpoint"
#: The text of engines without CRIU.
_NO_CRIU = 'exec: "criu": executable file not found'


@define(eq=False)
class Checkpoints:
    """Makes checkpoints.

    :param in_thread: calls a function in a thread and waits for its end, even if it is cancelled.
    :param directory: the staging directory; on the engine's machine, and with nothing else in it.
    """

    _docker: IDocker
    _clock: IReactorTime
    _processes: IContainerProcesses
    _in_thread: Callable[..., Awaitable[object]]
    _directory: str
    _log = Logger()

    async def checkpoint(self, container_id: str, location: str, timeout: float = 0) -> None:
        """Checkpoint a running container; write the archive to *location*.

        :param location: an absolute path in a directory that exists.
        :param timeout: seconds; 0: :data:`DEFAULT_TIMEOUT`.
        :raises Unimplemented: the engine is not experimental, or has no CRIU.
        :raises InvalidArgument: *location* is not such a path, or *timeout* is negative.
        :raises FailedPrecondition: the container is not running, or the engine is on another machine.
        :raises DeadlineExceeded: the timeout passed; the container runs on.
        :raises EngineFailure: CRIU failed; the text is the engine's.
        """
        self._check(location, timeout)
        inspected = await self._docker.inspect_container(container_id)
        if not flag(inspected, "State", "Running"):
            raise errors.FailedPrecondition(f"container {container_id} is not running")
        specification = self._processes.runtime_spec(number(inspected, "State", "Pid"), container_id)
        staging = os.path.join(self._directory, secrets.token_hex(8))
        try:
            os.makedirs(staging, mode=0o700)
            await self._checkpoint_in_engine(container_id, staging, timeout or DEFAULT_TIMEOUT)
            images = os.path.join(staging, _NAME)
            if not os.path.isdir(images):
                raise errors.FailedPrecondition(f"the engine has not written to {images}: it is on another machine")
            made_at = datetime.fromtimestamp(os.stat(images).st_mtime, UTC)
            documents = {"config.dump": _description(inspected, made_at), "spec.dump": specification}
            files = {name: json.dumps(value, indent=1).encode() for name, value in documents.items() if value}
            await self._in_thread(write_archive, location, images, _NAME, files)
        except OSError as error:
            raise errors.FailedPrecondition(f"the checkpoint cannot be written to {location}: {error}") from error
        finally:
            await self._in_thread(shutil.rmtree, staging, ignore_errors=True)
        self._log.info("checkpoint of {container} written to {location}", container=container_id, location=location)

    def clear(self) -> None:
        """Remove what a crash has left in the staging directory.  Blocking; called at the start."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _check(self, location: str, timeout: float) -> None:
        facts = self._docker.facts
        if facts is None:
            raise errors.Unavailable("Docker has not answered yet")
        if not facts.experimental:
            raise errors.Unimplemented("checkpoints need an experimental engine (dockerd --experimental) with CRIU")
        if timeout < 0:
            raise errors.InvalidArgument("timeout", "must not be negative")
        if not location.startswith("/") or os.path.isdir(location):
            raise errors.InvalidArgument("location", f"must be the absolute path of a file, not {location!r}")
        if not os.path.isdir(os.path.dirname(location)):
            raise errors.InvalidArgument("location", f"{os.path.dirname(location)} is not a directory")

    async def _checkpoint_in_engine(self, container_id: str, staging: str, timeout: float) -> None:
        body = {"CheckpointID": _NAME, "CheckpointDir": staging, "Exit": False}
        call = Deferred.fromCoroutine(self._docker.create_checkpoint(container_id, body))
        expiry = self._clock.callLater(timeout, call.cancel)
        try:
            await call
        except errors.EngineFailure as error:
            if _NO_CRIU in str(error):
                raise errors.Unimplemented("checkpoints need CRIU, which the engine does not find") from error
            raise
        except (CancelledError, errors.Cancelled):
            if expiry.active():
                raise
            raise errors.DeadlineExceeded(
                f"the checkpoint of {container_id} took longer than {timeout:g} s; the container runs on"
            ) from None
        finally:
            if expiry.active():
                expiry.cancel()


def _description(inspected: JSONObject, made_at: datetime) -> JSONObject:
    """Return ``config.dump``, with the member names that checkpointctl reads."""
    return {
        "id": text(inspected, "Id"),
        "name": text(inspected, "Name").lstrip("/"),
        "rootfsImage": text(inspected, "Config", "Image"),
        "rootfsImageName": text(inspected, "Config", "Image"),
        "rootfsImageRef": text(inspected, "Image"),
        "runtime": text(inspected, "HostConfig", "Runtime"),
        "createdTime": text(inspected, "Created"),
        "checkpointedTime": made_at.isoformat(),
    }
