"""CheckpointContainer: the state of a running container as an archive, by the engine's CRIU support.

Only an experimental engine (``dockerd --experimental``) takes checkpoints, with CRIU installed beside it.  The
container is paused meanwhile and runs on afterwards.

1. The engine writes CRIU's images to a directory of ours, so that no checkpoint stays with the engine's container.
2. They are packed to where kubelet wants them, in the layout that containerd and CRI-O use and ``checkpointctl``
   reads: ``checkpoint/`` has CRIU's images, ``config.dump`` says of which container they are, ``spec.dump`` is its
   OCI specification.  What these runtimes add besides, the changes to the root file system, the engine does not give
   away.
3. The directory is removed, whatever has happened.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from criwist import errors
from criwist.interfaces.engine import IDocker, JSONObject
from criwist.kernel.archive import write_archive
from criwist.kernel.oci_bundle import runtime_spec
from criwist.threads import run_to_its_end
from criwist.translate.engine_json import flag, number, text

#: Seconds for a checkpoint of which the CRI says "the default": long enough to write some tens of GiB to a disk.
DEFAULT_TIMEOUT = 600.0

#: The engine's name of the checkpoint, and the directory's in the archive.
_NAME = "checkpoint"
#: What engines say when CRIU is not installed.
_NO_CRIU = 'exec: "criu": executable file not found'


@define(eq=False)
class Checkpoints:
    """Takes checkpoints.

    :param directory: where the engine writes; it has to be the engine's machine.  Nothing else may be in it.
    """

    _docker: IDocker
    _clock: IReactorTime
    _reactor: IReactorFromThreads
    _threadpool: ThreadPool
    _directory: str
    _log = Logger()

    async def checkpoint(self, container_id: str, location: str, timeout: float = 0) -> None:
        """Write the archive of a running container's checkpoint to *location*.

        :param location: an absolute path in a directory that exists.
        :param timeout: seconds; 0: :data:`DEFAULT_TIMEOUT`.
        :raises Unimplemented: the engine is not experimental, or has no CRIU.
        :raises InvalidArgument: nothing can be written at *location*, or *timeout* is negative.
        :raises FailedPrecondition: the container does not run, or the engine is on another machine.
        :raises DeadlineExceeded: it took too long; the container runs on.
        :raises EngineFailure: CRIU cannot do it, in the engine's words.
        """
        self._check(location, timeout)
        inspected = await self._docker.inspect_container(container_id)
        if not flag(inspected, "State", "Running"):
            raise errors.FailedPrecondition(f"container {container_id} is not running")
        specification = runtime_spec(number(inspected, "State", "Pid"), container_id)
        staging = os.path.join(self._directory, secrets.token_hex(8))
        try:
            os.makedirs(staging, mode=0o700)
            await self._engine_writes(container_id, staging, timeout or DEFAULT_TIMEOUT)
            images = os.path.join(staging, _NAME)
            if not os.path.isdir(images):
                raise errors.FailedPrecondition(f"the engine has not written to {images}: it is on another machine")
            taken = datetime.fromtimestamp(os.stat(images).st_mtime, UTC)
            documents = {"config.dump": _description(inspected, taken), "spec.dump": specification}
            files = {name: json.dumps(told, indent=1).encode() for name, told in documents.items() if told}
            await self._in_thread(write_archive, location, images, _NAME, files)
        except OSError as error:
            raise errors.FailedPrecondition(f"the checkpoint cannot be written to {location}: {error}") from error
        finally:
            await self._in_thread(shutil.rmtree, staging, ignore_errors=True)
        self._log.info("checkpoint of {container} written to {location}", container=container_id, location=location)

    async def _in_thread(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        await run_to_its_end(self._reactor, self._threadpool, function, *args, **kwargs)

    def clear(self) -> None:
        """Remove what a crash of ours has left.  Blocking; to be called at the start."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _check(self, location: str, timeout: float) -> None:
        facts = self._docker.facts
        if facts is None:
            raise errors.Unavailable("Docker has not answered yet")
        if not facts.experimental:
            raise errors.Unimplemented("checkpoints take an experimental engine: dockerd --experimental, with CRIU")
        if timeout < 0:
            raise errors.InvalidArgument("timeout", "must not be negative")
        if not location.startswith("/") or os.path.isdir(location):
            raise errors.InvalidArgument("location", f"must be the absolute path of a file, not {location!r}")
        if not os.path.isdir(os.path.dirname(location)):
            raise errors.InvalidArgument("location", f"{os.path.dirname(location)} is no directory")

    async def _engine_writes(self, container_id: str, staging: str, timeout: float) -> None:
        body = {"CheckpointID": _NAME, "CheckpointDir": staging, "Exit": False}
        writing = Deferred.fromCoroutine(self._docker.create_checkpoint(container_id, body))
        expiry = self._clock.callLater(timeout, writing.cancel)
        try:
            await writing
        except errors.EngineFailure as error:
            if _NO_CRIU in str(error):
                raise errors.Unimplemented("checkpoints take CRIU, which the engine does not find") from error
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


def _description(inspected: JSONObject, taken: datetime) -> JSONObject:
    """``config.dump``, with the member names that checkpointctl knows."""
    return {
        "id": text(inspected, "Id"),
        "name": text(inspected, "Name").lstrip("/"),
        "rootfsImage": text(inspected, "Config", "Image"),
        "rootfsImageName": text(inspected, "Config", "Image"),
        "rootfsImageRef": text(inspected, "Image"),
        "runtime": text(inspected, "HostConfig", "Runtime"),
        "createdTime": text(inspected, "Created"),
        "checkpointedTime": taken.isoformat(),
    }
