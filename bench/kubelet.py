"""The requests that a kubelet sends to a runtime while nothing is asked of the kubelet.

Its PLEG lists all sandboxes and containers each second, and reads the status of every pod that differs from the list
before; to a kubelet that has just started, all of them do.  Its node status reads Status, and its image garbage
collection ImageFsInfo.  The stats are those of its summary, with ``PodAndContainerStatsFromCRI``: pods and containers.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import define, field

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI

#: Seconds from one listing to the next, and how many of them pass between two readings of stats and node status.
RELIST, READINGS = 1.0, 10


@define
class Kubelet:
    """A kubelet that has just started."""

    _cri: CRI
    #: The last listing: by pod, the serialized sandbox and containers.
    _pods: dict[str, list[bytes]] = field(factory=dict, init=False)

    def run(self, seconds: float) -> None:
        """Send the requests for this long, each at its time; a late one is sent at once."""
        began = time.monotonic()
        for number in range(round(seconds / RELIST)):
            time.sleep(max(0.0, began + number * RELIST - time.monotonic()))
            self.relist()
            if number % READINGS == 0:
                self.read()
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    def relist(self) -> None:
        """List everything, and read the statuses of what changed."""
        runtime = self._cri.runtime
        found: dict[str, list[Any]] = {}
        for sandbox in runtime.ListPodSandbox(api.ListPodSandboxRequest()).items:
            found.setdefault(sandbox.id, []).append(sandbox)
        for container in runtime.ListContainers(api.ListContainersRequest()).containers:
            found.setdefault(container.pod_sandbox_id, []).append(container)
        before = self._pods
        self._pods = {pod_id: [item.SerializeToString() for item in items] for pod_id, items in found.items()}
        for pod_id, items in found.items():
            if self._pods[pod_id] == before.get(pod_id):
                continue
            runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=pod_id))
            for container in items[1:]:
                runtime.ContainerStatus(api.ContainerStatusRequest(container_id=container.id))

    def read(self) -> None:
        """Read stats, the file system of images, and the node's status."""
        self._cri.runtime.ListContainerStats(api.ListContainerStatsRequest())
        self._cri.runtime.ListPodSandboxStats(api.ListPodSandboxStatsRequest())
        self._cri.images.ImageFsInfo(api.ImageFsInfoRequest())
        self._cri.runtime.Status(api.StatusRequest())
