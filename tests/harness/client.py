"""A CRI client for tests: the two services of a runtime, and configurations to start from.

Nothing here knows which runtime answers.
"""

from __future__ import annotations

import itertools
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.api.runtime.v1 import api_pb2_grpc
from tests.harness import images
from tests.harness.clock import eventually, scaled

_serial = itertools.count(1)

#: The CRI's limit of message size, both ways.
_OPTIONS = (("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20))


def open_channel(socket: Path) -> grpc.Channel:
    """A channel of its own to a runtime's socket."""
    # Channels of equal arguments would share one connection; tests that count or break connections want their own.
    return grpc.insecure_channel(f"unix://{socket}", options=(*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)))


def answers_version(socket: Path) -> bool:
    """Whether a CRI runtime answers on this socket now."""
    if not socket.exists():
        return False
    with open_channel(socket) as channel:
        try:
            api_pb2_grpc.RuntimeServiceStub(channel).Version(api.VersionRequest(), timeout=scaled(2))
        except grpc.RpcError:
            return False
    return True


class CRI:
    """A runtime as kubelet sees it.

    ``runtime`` and ``images`` are the v1 stubs, and ``socket`` is where they lead; calls get a time limit unless they
    have one.  ``name`` is ``criwist`` or ``containerd``.
    """

    def __init__(self, name: str, socket: Path, directory: Path, load: Callable[[bytes], None]) -> None:
        self.name = name
        self.socket = socket
        self.channel = open_channel(socket)
        limited = grpc.intercept_channel(self.channel, _TimeLimit(scaled(60)))
        self.runtime = api_pb2_grpc.RuntimeServiceStub(limited)
        self.images = api_pb2_grpc.ImageServiceStub(limited)
        #: Makes the image in a docker-archive exist in the runtime.
        self.load = load
        self._directory = directory

    # -- configurations

    def pod(self, name: str = "", **fields: Any) -> api.PodSandboxConfig:
        """A pod like no other, with a log directory, on the pod network; *fields* are merged into that.

        As with kubelet, every container has a PID namespace of its own unless somebody wants it otherwise.
        """
        number = next(_serial)
        name = name or f"pod-{number}"
        uid = str(uuid.uuid4())
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=uid, namespace="criwist-tests", attempt=0),
            hostname=name,
            log_directory=str(self._directory / "logs" / f"{name}_{uid}"),
            labels={"io.kubernetes.pod.name": name, "io.kubernetes.pod.uid": uid},
        )
        config.linux.security_context.namespace_options.pid = api.CONTAINER
        config.MergeFrom(api.PodSandboxConfig(**fields))
        return config

    def host_network_pod(self, name: str = "", **fields: Any) -> api.PodSandboxConfig:
        """A pod on the host's network; it has the node's hostname, so kubelet gives it none."""
        config = self.pod(name, **fields)
        config.hostname = ""
        config.linux.security_context.namespace_options.network = api.NODE
        return config

    def container(
        self, *command: str, name: str = "", image: str = images.BUSYBOX, **fields: Any
    ) -> api.ContainerConfig:
        """A container that runs *command*, or sleeps; *fields* are merged into that.

        The sleeping one ends at once on SIGTERM.
        """
        name = name or f"container-{next(_serial)}"
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name, attempt=0),
            image=api.ImageSpec(image=image, user_specified_image=image),
            command=command or ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"),
            log_path=f"{name}_0.log",
            labels={"io.kubernetes.container.name": name},
        )
        config.linux.security_context.namespace_options.pid = api.CONTAINER
        config.MergeFrom(api.ContainerConfig(**fields))
        return config

    # -- pods

    def run_pod(self, config: api.PodSandboxConfig | None = None, *, runtime_handler: str = "") -> str:
        """RunPodSandbox; returns the id.  The pod is removed when the test ends."""
        request = api.RunPodSandboxRequest(config=config or self.pod(), runtime_handler=runtime_handler)
        return str(self.runtime.RunPodSandbox(request).pod_sandbox_id)

    def stop_pod(self, pod_id: str) -> None:
        """StopPodSandbox."""
        self.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod_id))

    def remove_pod(self, pod_id: str) -> None:
        """RemovePodSandbox."""
        self.runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod_id))

    def pod_status(self, pod_id: str) -> api.PodSandboxStatus:
        """PodSandboxStatus."""
        response: api.PodSandboxStatusResponse = self.runtime.PodSandboxStatus(
            api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)
        )
        return response.status

    def pod_ids(self, **filter_fields: Any) -> list[str]:
        """Ids that ListPodSandbox answers."""
        request = api.ListPodSandboxRequest(filter=api.PodSandboxFilter(**filter_fields))
        return [item.id for item in self.runtime.ListPodSandbox(request).items]

    # -- containers

    def create(self, pod_id: str, config: api.ContainerConfig, pod: api.PodSandboxConfig) -> str:
        """CreateContainer; returns the id.  As kubelet does, network and IPC namespaces are those of the pod."""
        options, of_pod = config.linux.security_context.namespace_options, pod.linux.security_context.namespace_options
        options.network, options.ipc = of_pod.network, of_pod.ipc
        request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
        return str(self.runtime.CreateContainer(request).container_id)

    def start(self, container_id: str) -> None:
        """StartContainer."""
        self.runtime.StartContainer(api.StartContainerRequest(container_id=container_id))

    def run(self, pod_id: str, config: api.ContainerConfig, pod: api.PodSandboxConfig) -> str:
        """CreateContainer and StartContainer; returns the id."""
        container_id = self.create(pod_id, config, pod)
        self.start(container_id)
        return container_id

    def run_in_pod(self, *command: str, pod: api.PodSandboxConfig | None = None, **fields: Any) -> tuple[str, str]:
        """A pod with one container that runs *command*, or sleeps; returns the ids of both."""
        pod = pod or self.pod()
        pod_id = self.run_pod(pod)
        return pod_id, self.run(pod_id, self.container(*command, **fields), pod)

    def run_trapping(self, traps: str, **fields: Any) -> str:
        """A container, in a pod of its own, that has set shell *traps* and waits for signals; returns its id.

        The kernel keeps from a container's first process what that does not handle: a signal that came before the
        traps were set would be lost.
        """
        _, container_id = self.run_in_pod("sh", "-c", f"{traps}; touch /trapped; while :; do sleep 0.1; done", **fields)
        eventually(lambda: self.execute(container_id, "test", "-e", "/trapped").exit_code == 0)
        return container_id

    def stop(self, container_id: str, timeout: int = 10) -> None:
        """StopContainer."""
        request = api.StopContainerRequest(container_id=container_id, timeout=timeout)
        self.runtime.StopContainer(request, timeout=scaled(timeout + 60))

    def remove(self, container_id: str) -> None:
        """RemoveContainer."""
        self.runtime.RemoveContainer(api.RemoveContainerRequest(container_id=container_id))

    def status(self, container_id: str) -> api.ContainerStatus:
        """ContainerStatus."""
        response: api.ContainerStatusResponse = self.runtime.ContainerStatus(
            api.ContainerStatusRequest(container_id=container_id)
        )
        return response.status

    def container_ids(self, **filter_fields: Any) -> list[str]:
        """Ids that ListContainers answers."""
        request = api.ListContainersRequest(filter=api.ContainerFilter(**filter_fields))
        return [item.id for item in self.runtime.ListContainers(request).containers]

    def wait_for_exit(self, container_id: str, *, within: float = 10) -> api.ContainerStatus:
        """The status of the container once it is EXITED."""

        def exited() -> api.ContainerStatus:
            status = self.status(container_id)
            assert status.state == api.CONTAINER_EXITED, api.ContainerState.Name(status.state)
            return status

        return eventually(exited, within=within)

    def execute(self, container_id: str, *command: str, timeout: int = 0) -> api.ExecSyncResponse:
        """ExecSync."""
        request = api.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout)
        response: api.ExecSyncResponse = self.runtime.ExecSync(request)
        return response

    def output(self, container_id: str, *command: str) -> str:
        """What *command* writes to standard output in the container; an AssertionError if it fails."""
        answer = self.execute(container_id, *command)
        assert answer.exit_code == 0, (command, answer)
        return answer.stdout.decode()

    def shell(self, container_id: str, script: str) -> str:
        """What a shell script writes to standard output in the container; an AssertionError if it fails."""
        return self.output(container_id, "sh", "-c", script)

    # -- images

    def image(self, reference: str) -> api.Image | None:
        """ImageStatus; None if there is no such image."""
        answer = self.images.ImageStatus(api.ImageStatusRequest(image=api.ImageSpec(image=reference)))
        return answer.image if answer.HasField("image") else None

    def pull(self, reference: str, *, timeout: float = 60, **auth: str) -> str:
        """PullImage; returns the image_ref."""
        request = api.PullImageRequest(image=api.ImageSpec(image=reference), auth=api.AuthConfig(**auth))
        return str(self.images.PullImage(request, timeout=scaled(timeout)).image_ref)

    def remove_image(self, reference: str) -> None:
        """RemoveImage."""
        self.images.RemoveImage(api.RemoveImageRequest(image=api.ImageSpec(image=reference)))

    # -- the end of a test

    def clean(self) -> None:
        """Stop and remove every pod that the runtime lists, whoever made it."""
        for container_id in self.container_ids():
            self._kill(container_id)
        for pod_id in self.pod_ids():
            self.stop_pod(pod_id)
            self.remove_pod(pod_id)
        shutil.rmtree(self._directory / "logs", ignore_errors=True)

    def _kill(self, container_id: str) -> None:
        try:
            self.stop(container_id, timeout=0)
        except grpc.RpcError as error:
            # containerd 1.6 answers so when a container's shim ends while it is being asked.
            if self.name != "containerd" or "ttrpc: closed" not in str(error):
                raise
            self.stop(container_id, timeout=0)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()


class _TimeLimit(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives unary calls without a time limit this one: a runtime that hangs is to fail one test, not stop them all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def intercept_unary_unary(self, continuation: Any, details: grpc.ClientCallDetails, request: Any) -> Any:
        if details.timeout is not None:
            return continuation(details, request)
        return continuation(_CallDetails(details, self._seconds), request)


class _CallDetails(grpc.ClientCallDetails):  # type: ignore[misc]
    def __init__(self, details: grpc.ClientCallDetails, timeout: float) -> None:
        self.method = details.method
        self.timeout = timeout
        self.metadata = details.metadata
        self.credentials = details.credentials
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)


def refused(call: Callable[[], object], *codes: grpc.StatusCode) -> str:
    """Make a call that has to fail, with one of *codes* if any are given; returns the error's text."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert not codes or caught.value.code() in codes, f"{caught.value.code()}: {caught.value.details()}"
    return str(caught.value.details())
