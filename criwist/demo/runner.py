"""Run one pod through a CRI socket as kubelet would: images, sandbox, containers, and all of it removed at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import grpc

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.api.runtime.v1 import api_pb2_grpc
from criwist.demo.container_manifest import ContainerPlan
from criwist.demo.log_lines import read_log
from criwist.demo.manifest import PodPlan
from criwist.demo.progress import Progress

#: The CRI's limit of message size, both ways.
_OPTIONS = (("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20))
#: Time limit of a call that neither pulls nor stops; seconds.
_LIMIT = 120.0
_PULL_LIMIT = 3600.0
_POLL = 0.2
#: Seconds until the runtime shows changes that others make in the engine.
_SHOWN_WITHIN = 10.0


class DemoError(Exception):
    """The demo cannot continue; the text says why."""


class Runner:
    """Runs pods on the runtime at *endpoint*, and prints each step to *output*."""

    def __init__(self, endpoint: str, output: TextIO) -> None:
        self._output = output
        self._channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        self._runtime = api_pb2_grpc.RuntimeServiceStub(self._channel)
        self._images = api_pb2_grpc.ImageServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def print_runtime(self) -> None:
        """Print the runtime's name and versions.

        :raises DemoError: the runtime reports that it is not ready.
        """
        version = self._runtime.Version(api.VersionRequest(), timeout=_LIMIT)
        self._print(f"runtime:   {version.runtime_name} {version.runtime_version}, CRI {version.runtime_api_version}")
        status = self._runtime.Status(api.StatusRequest(), timeout=_LIMIT).status
        for condition in status.conditions:
            if not condition.status:
                raise DemoError(f"{condition.type} is false: {condition.reason}: {condition.message}")

    def has_image(self, reference: str) -> bool:
        """Return whether the runtime has an image."""
        request = api.ImageStatusRequest(image=api.ImageSpec(image=reference))
        return bool(self._images.ImageStatus(request, timeout=_LIMIT).HasField("image"))

    def wait_for_image(self, reference: str) -> None:
        """Wait for an image that was loaded into the engine directly.

        :raises DemoError: the runtime does not list it in time.
        """
        until = time.monotonic() + _SHOWN_WITHIN
        while not self.has_image(reference):
            if time.monotonic() > until:
                raise DemoError(f"{reference} was loaded into the engine, but the runtime does not list it")
            time.sleep(_POLL)

    def run(self, plan: PodPlan, *, seconds: float, keep: bool) -> int:
        """Run the pod until its containers end or *seconds* have passed, and print their states and logs.

        Returns 0 if no container failed, else 1.  The pod is removed in any case, unless *keep* is true.
        """
        for container in (*plan.init_containers, *plan.containers):
            self._pull_if_needed(container, plan.config)
        with self._sandbox(plan, keep=keep) as pod_id:
            self._print_sandbox(pod_id)
            for container in plan.init_containers:
                container_id = self._start(pod_id, container, plan.config)
                if self._wait([container_id], seconds) or self._report(container, container_id, plan.config):
                    raise DemoError(f"init container {container.name} did not succeed")
            started = [(self._start(pod_id, each, plan.config), each) for each in plan.containers]
            if running := self._wait([container_id for container_id, _ in started], seconds):
                self._print(f"{running} of {len(started)} containers still run after {seconds:g} s")
            return max(self._report(container, container_id, plan.config) for container_id, container in started)

    def _pull_if_needed(self, container: ContainerPlan, pod: api.PodSandboxConfig) -> None:
        reference = container.config.image.image
        present = self.has_image(reference)
        if container.pull_policy == "Never" and not present:
            raise DemoError(f"image {reference} does not exist here, and its imagePullPolicy is Never")
        if container.pull_policy == "Always" or not present:
            request = api.PullImageRequest(image=container.config.image, sandbox_config=pod)
            with Progress(f"pulling {reference}", self._output):
                self._images.PullImage(request, timeout=_PULL_LIMIT)

    @contextmanager
    def _sandbox(self, plan: PodPlan, *, keep: bool) -> Iterator[str]:
        metadata = plan.config.metadata
        with Progress(f"starting pod {metadata.namespace}/{metadata.name}", self._output):
            request = api.RunPodSandboxRequest(config=plan.config)
            pod_id = str(self._runtime.RunPodSandbox(request, timeout=_LIMIT).pod_sandbox_id)
        try:
            yield pod_id
        finally:
            if keep:
                self._print(f"pod {pod_id} is kept")
            else:
                with Progress("removing the pod", self._output):
                    self._remove(pod_id, plan.grace)

    def _remove(self, pod_id: str, grace: int) -> None:
        """Stop the containers with their grace period, as kubelet does, then the pod."""
        request = api.ListContainersRequest(filter=api.ContainerFilter(pod_sandbox_id=pod_id))
        for container in self._runtime.ListContainers(request, timeout=_LIMIT).containers:
            stop = api.StopContainerRequest(container_id=container.id, timeout=grace)
            self._runtime.StopContainer(stop, timeout=grace + _LIMIT)
        self._runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod_id), timeout=_LIMIT)
        self._runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod_id), timeout=_LIMIT)

    def _start(self, pod_id: str, container: ContainerPlan, pod: api.PodSandboxConfig) -> str:
        create = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=container.config, sandbox_config=pod)
        container_id = str(self._runtime.CreateContainer(create, timeout=_LIMIT).container_id)
        self._runtime.StartContainer(api.StartContainerRequest(container_id=container_id), timeout=_LIMIT)
        return container_id

    def _status(self, container_id: str) -> api.ContainerStatus:
        request = api.ContainerStatusRequest(container_id=container_id)
        status: api.ContainerStatus = self._runtime.ContainerStatus(request, timeout=_LIMIT).status
        return status

    def _wait(self, container_ids: list[str], seconds: float) -> int:
        """Wait until no container runs, and return how many still run at the time limit."""
        deadline = time.monotonic() + seconds
        while True:
            states = [self._status(container_id).state for container_id in container_ids]
            running = sum(state != api.CONTAINER_EXITED for state in states)
            if not running or time.monotonic() > deadline:
                return running
            time.sleep(_POLL)

    def _print_sandbox(self, pod_id: str) -> None:
        request = api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)
        status = self._runtime.PodSandboxStatus(request, timeout=_LIMIT).status
        addresses = [status.network.ip, *(each.ip for each in status.network.additional_ips)]
        self._print(f"pod:       {pod_id}")
        self._print(f"state:     {api.PodSandboxState.Name(status.state)}")
        self._print(f"address:   {', '.join(filter(None, addresses)) or 'the address of the host'}")

    def _report(self, container: ContainerPlan, container_id: str, pod: api.PodSandboxConfig) -> int:
        """Print a container's state and log, and return 1 if it failed, else 0."""
        status = self._status(container_id)
        state = api.ContainerState.Name(status.state).removeprefix("CONTAINER_").lower()
        ended = status.state == api.CONTAINER_EXITED
        outcome = f" {status.exit_code}, {status.reason} {status.message}".rstrip() if ended else ""
        self._print(f"container: {container.name}: {state}{outcome}")
        for line in read_log(Path(pod.log_directory, container.config.log_path)):
            self._print(f"    {line}")
        return int(ended and status.exit_code != 0)

    def _print(self, line: str) -> None:
        self._output.write(line + "\n")
        self._output.flush()
