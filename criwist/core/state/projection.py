"""The projection of an inspected Docker container to an entry of the cache.

It combines, once for each change, all that a CRI response needs: the inspection, the sandbox's record, the image, and
the state that the kernel reports.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve
from twisted.logger import Logger

from criwist import errors, labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.core.state.engine_profile import EngineProfile
from criwist.core.state.entries import ContainerEntry, SandboxEntry
from criwist.core.state.image_volume import ImageVolume
from criwist.core.state.observed_state import ObservedState
from criwist.core.state.pod_networks import PodNetworks
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.network import PodNetworkRequest
from criwist.interfaces.records import ISandboxRecords, SandboxRecord
from criwist.names import ContainerName
from criwist.translate.cgroup import recorded_writes
from criwist.translate.engine_json import flag, member, members, number, text, text_map
from criwist.translate.identity import identity
from criwist.translate.status import (
    container_item,
    container_status,
    sandbox_item,
    sandbox_ready,
    sandbox_status,
)

_JSON_FILE = "json-file"
_OVERLAY2 = "overlay2"


@define(eq=False, kw_only=True)
class Projection:
    """Makes entries.  Call it with an inspected container.

    :param image: returns the engine's document of an image by id; None if the image is gone.
    :param observe: returns the state of an inspected container that the kernel reports.
    :param oom_killed: returns whether the kernel killed a process of the container with this id for want of memory.
    :param volume_at: returns the image volume at a host path; None if there is none.
    :param own_directory: mounts from below it are criwist's, and not in a status, except image volumes.
    """

    _engine: EngineProfile
    _records: ISandboxRecords
    _networks: PodNetworks
    _image: Callable[[str], JSONObject | None]
    _observe: Callable[[JSONObject], ObservedState]
    _volume_at: Callable[[str], ImageVolume | None]
    _oom_killed: Callable[[str], bool]
    _own_directory: str
    _log = Logger()

    def __call__(self, inspected: JSONObject) -> SandboxEntry | ContainerEntry | None:
        """Return the entry; None if no Kubernetes shim made the container, or a part of it cannot be parsed."""
        is_sandbox = text(inspected, "Config", "Labels", labels.TYPE) == labels.SANDBOX
        record = self._records.load(text(inspected, "Id")) if is_sandbox else None
        name = identity(inspected, recorded=record is not None)
        if name is None:
            return None
        inspected = {**inspected, "Name": f"/{name}"}  # it may have been renamed
        try:
            if is_sandbox:
                return self._sandbox(name, inspected, record)
            return self._container(name, inspected)
        except errors.CriwistError as error:
            self._log.error(
                "container {container} is left out of lists: {error}", container=text(inspected, "Id"), error=str(error)
            )
            return None

    def _sandbox(self, name: ContainerName, inspected: JSONObject, record: SandboxRecord | None) -> SandboxEntry:
        record = self._record_with_network(name, inspected, record)
        ready = sandbox_ready(inspected, record=record)
        default = self._engine.facts.default_runtime
        item = sandbox_item(inspected, record=record, ready=ready, default_runtime=default)
        status = sandbox_status(inspected, record=record, ready=ready, default_runtime=default)
        running = flag(inspected, "State", "Running")
        return SandboxEntry(
            id=item.id,
            name=name,
            ready=ready,
            running=running,
            created_at=item.created_at,
            labels=dict(item.labels),
            pid=number(inspected, "State", "Pid") if running else 0,
            network_mode=text(inspected, "HostConfig", "NetworkMode"),
            runtime=text(inspected, "HostConfig", "Runtime"),
            image=text(inspected, "Config", "Image"),
            item=item.SerializeToString(),
            status=status.SerializeToString(),
            cgroup_parent=text(inspected, "HostConfig", "CgroupParent"),
        )

    def _record_with_network(
        self, name: ContainerName, inspected: JSONObject, record: SandboxRecord | None
    ) -> SandboxRecord | None:
        """Return the sandbox's record.  If it lacks the network, as another shim's does, the provider recalls that."""
        sandbox_id = text(inspected, "Id")
        if record is not None and (record.network is not None or record.network_plugin):
            return record
        if not flag(inspected, "State", "Running"):
            return record
        provider = self._networks.recorded(record, text(inspected, "HostConfig", "NetworkMode"))
        request = record.request if record else PodNetworkRequest(sandbox_id, name.pod, name.namespace, name.uid)
        network = provider.recall(request, inspected)
        if network is None:
            return record
        return evolve(record or SandboxRecord(sandbox_id, request, network_plugin=""), network=network)

    def _container(self, name: ContainerName, inspected: JSONObject) -> ContainerEntry:
        image = self._image(text(inspected, "Image"))
        observed = self._observe(inspected)
        item = container_item(inspected, image=image)
        status = container_status(
            inspected,
            image=image,
            resources=observed.resources,
            user=observed.user,
            image_mounts=self._image_mounts(inspected),
            own_directory=self._own_directory,
            oom_killed=self._oom_killed,
        )
        docker_labels = text_map(inspected, "Config", "Labels")
        running = flag(inspected, "State", "Running")
        return ContainerEntry(
            id=item.id,
            sandbox_id=item.pod_sandbox_id,
            name=name,
            state=item.state,
            running=running,
            created_at=item.created_at,
            labels=dict(item.labels),
            pid=number(inspected, "State", "Pid") if running else 0,
            image_id=item.image_id,
            image=item.image.user_specified_image or item.image.image,
            tty=flag(inspected, "Config", "Tty"),
            stdin=flag(inspected, "Config", "OpenStdin"),
            stdin_once=flag(inspected, "Config", "StdinOnce"),
            log_path=docker_labels.get(labels.LOG_PATH, ""),
            engine_log_path=self._engine_log_path(inspected),
            log_driver=text(member(inspected, "HostConfig", "LogConfig"), "Type"),
            image_volumes=frozenset(mount.image.image for mount in status.mounts if mount.HasField("image")),
            cgroup_writes=recorded_writes(docker_labels),
            item=item.SerializeToString(),
            status=status.SerializeToString(),
            upper_directory=_upper_directory(inspected),
        )

    def _image_mounts(self, inspected: JSONObject) -> dict[str, pb.Mount]:
        """Return the mounts of image volumes by criwist, by their path in the container."""
        mounts = {}
        for mount in members(inspected, "Mounts"):
            volume = self._volume_at(text(mount, "Source"))
            if volume is not None:
                image = pb.ImageSpec(image=volume.image_id, image_ref=volume.image_id)
                mounts[text(mount, "Destination")] = pb.Mount(image=image, image_sub_path=volume.sub_path)
        return mounts

    def _engine_log_path(self, inspected: JSONObject) -> str:
        """Return ``LogPath``, which the engine sets at the first start; before, the path that it will set."""
        path = text(inspected, "LogPath")
        if path or text(inspected, "HostConfig", "LogConfig", "Type") != _JSON_FILE:
            return path
        identifier = text(inspected, "Id")
        return f"{self._engine.facts.root_directory}/containers/{identifier}/{identifier}-json.log"


def _upper_directory(inspected: JSONObject) -> str:
    graph_driver = member(inspected, "GraphDriver")
    return text(graph_driver, "Data", "UpperDir") if text(graph_driver, "Name") == _OVERLAY2 else ""
