"""Invalid requests: the error names the field, and nothing is created."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.api.runtime.v1 import api_pb2_grpc
from tests.harness import images
from tests.harness.client import CRI, refused
from tests.harness.engine import Engine

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(autouse=True)
def nothing_left(cri: CRI, engine: Engine) -> Iterator[None]:
    """Check after each test that the runtime responds and has no new pod or container."""
    before = engine.container_names()
    yield
    cri.clean()
    cri.runtime.Version(api.VersionRequest())
    assert engine.container_names() == before


def _pod(change: Callable[[api.PodSandboxConfig], object]) -> Callable[[CRI], api.RunPodSandboxRequest]:
    def request(cri: CRI) -> api.RunPodSandboxRequest:
        config = cri.pod()
        change(config)
        return api.RunPodSandboxRequest(config=config)

    return request


#: The mistake, the field that the text has to name, and the function that builds the request.
BAD_PODS: list[tuple[str, str, Callable[[CRI], api.RunPodSandboxRequest]]] = [
    ("nothing", "config", lambda cri: api.RunPodSandboxRequest()),
    ("no metadata", "metadata", _pod(lambda config: config.ClearField("metadata"))),
    ("no name", "metadata.name", _pod(lambda config: config.metadata.ClearField("name"))),
    ("no namespace", "metadata.namespace", _pod(lambda config: config.metadata.ClearField("namespace"))),
    ("no uid", "metadata.uid", _pod(lambda config: config.metadata.ClearField("uid"))),
    ("underscore", "metadata.name", _pod(lambda config: setattr(config.metadata, "name", "a_b"))),
    ("slash", "metadata.namespace", _pod(lambda config: setattr(config.metadata, "namespace", "a/b"))),
    ("long name", "metadata.name", _pod(lambda config: setattr(config.metadata, "name", "a" * 100_000))),
    ("NUL in hostname", "hostname", _pod(lambda config: setattr(config, "hostname", "a\0b"))),
    ("long hostname", "hostname", _pod(lambda config: setattr(config, "hostname", "a" * 300))),
    ("relative log directory", "log_directory", _pod(lambda config: setattr(config, "log_directory", "logs"))),
    ("NUL in log directory", "log_directory", _pod(lambda config: setattr(config, "log_directory", "/a\0b"))),
    ("DNS server", "dns_config.servers", _pod(lambda config: config.dns_config.servers.append("nonsense"))),
    (
        "newline in DNS search",
        "dns_config.searches",
        _pod(lambda config: config.dns_config.searches.append("a\nnameserver 192.0.2.1")),
    ),
    (
        "port out of range",
        "port_mappings",
        _pod(lambda config: config.port_mappings.add(container_port=80, host_port=70000)),
    ),
    (
        "negative port",
        "port_mappings",
        _pod(lambda config: config.port_mappings.add(container_port=-1, host_port=80)),
    ),
    (
        "host address",
        "port_mappings",
        _pod(lambda config: config.port_mappings.add(container_port=1, host_port=2, host_ip="here")),
    ),
    (
        "unknown protocol",
        "port_mappings",
        _pod(lambda config: config.port_mappings.add(container_port=1, host_port=2, protocol=77)),
    ),
    (
        "unknown network mode",
        "network",
        _pod(lambda config: setattr(config.linux.security_context.namespace_options, "network", 9)),
    ),
    (
        "group without user",
        "run_as_group",
        _pod(lambda config: setattr(config.linux.security_context.run_as_group, "value", 5)),
    ),
]


@pytest.mark.parametrize(("field", "make"), [case[1:] for case in BAD_PODS], ids=[case[0] for case in BAD_PODS])
def test_bad_pod(cri: CRI, field: str, make: Callable[[CRI], api.RunPodSandboxRequest]) -> None:
    """An invalid sandbox configuration fails with INVALID_ARGUMENT, and the text names the field."""
    request = make(cri)
    text = refused(lambda: cri.runtime.RunPodSandbox(request), INVALID)
    assert field in text
    assert len(text) < 1000
    assert cri.pod_ids() == []


def _container(change: Callable[[api.ContainerConfig], object]) -> Callable[[CRI], api.ContainerConfig]:
    def config(cri: CRI) -> api.ContainerConfig:
        made = cri.container()
        change(made)
        return made

    return config


BAD_CONTAINERS: list[tuple[str, str, Callable[[CRI], api.ContainerConfig]]] = [
    ("nothing", "metadata", lambda cri: api.ContainerConfig()),
    ("no metadata", "metadata", _container(lambda config: config.ClearField("metadata"))),
    ("no name", "metadata.name", _container(lambda config: config.metadata.ClearField("name"))),
    ("underscore", "metadata.name", _container(lambda config: setattr(config.metadata, "name", "a_b"))),
    ("no image", "image", _container(lambda config: config.ClearField("image"))),
    ("malformed image", "image", _container(lambda config: setattr(config.image, "image", "UPPER/Case:x y"))),
    ("NUL in command", "command", _container(lambda config: config.command.append("a\0b"))),
    ("NUL in args", "args", _container(lambda config: config.args.append("a\0b"))),
    ("relative directory", "working_dir", _container(lambda config: setattr(config, "working_dir", "here"))),
    ("variable without name", "envs", _container(lambda config: config.envs.add(value=b"x"))),
    ("= in a variable's name", "envs", _container(lambda config: config.envs.add(key="a=b", value=b"x"))),
    ("NUL in a variable", "envs", _container(lambda config: config.envs.add(key="a", value=b"\0"))),
    ("mount nowhere", "mounts", _container(lambda config: config.mounts.add(host_path="/tmp"))),
    ("relative mount", "mounts", _container(lambda config: config.mounts.add(host_path="/tmp", container_path="a"))),
    ("mount of nothing", "mounts", _container(lambda config: config.mounts.add(container_path="/a"))),
    (
        "NUL in a mount",
        "mounts",
        _container(lambda config: config.mounts.add(host_path="/tmp/a\0b", container_path="/a")),
    ),
    (
        "unknown propagation",
        "propagation",
        _container(lambda config: config.mounts.add(host_path="/tmp", container_path="/a", propagation=8)),
    ),
    ("log path upwards", "log_path", _container(lambda config: setattr(config, "log_path", "../../etc/passwd"))),
    ("NUL in the log path", "log_path", _container(lambda config: setattr(config, "log_path", "a\0b"))),
    ("unknown stop signal", "stop_signal", _container(lambda config: setattr(config, "stop_signal", 4000))),
    (
        "group without user",
        "run_as_group",
        _container(lambda config: setattr(config.linux.security_context.run_as_group, "value", 5)),
    ),
    (
        "negative memory",
        "memory_limit_in_bytes",
        _container(lambda config: setattr(config.linux.resources, "memory_limit_in_bytes", -5)),
    ),
    (
        "capability",
        "capabilities",
        _container(lambda config: config.linux.security_context.capabilities.add_capabilities.append("NO_SUCH_CAP")),
    ),
    (
        "unknown pid mode",
        "pid",
        _container(lambda config: setattr(config.linux.security_context.namespace_options, "pid", 9)),
    ),
]


@pytest.mark.parametrize(
    ("field", "make"), [case[1:] for case in BAD_CONTAINERS], ids=[case[0] for case in BAD_CONTAINERS]
)
def test_bad_container(cri: CRI, field: str, make: Callable[[CRI], api.ContainerConfig]) -> None:
    """An invalid container configuration fails with INVALID_ARGUMENT, and the text names the field."""
    pod = cri.pod()
    pod_id = cri.run_pod(pod)
    request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=make(cri), sandbox_config=pod)
    text = refused(lambda: cri.runtime.CreateContainer(request), INVALID)
    assert field in text
    assert cri.container_ids() == []


def test_create_in_no_sandbox(cri: CRI) -> None:
    """CreateContainer without a sandbox id fails with INVALID_ARGUMENT."""
    request = api.CreateContainerRequest(config=cri.container(), sandbox_config=cri.pod())
    assert "pod_sandbox_id" in refused(lambda: cri.runtime.CreateContainer(request), INVALID)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("PodSandboxStatus", "pod_sandbox_id"),
        ("StartContainer", "container_id"),
        ("ContainerStatus", "container_id"),
        ("UpdateContainerResources", "container_id"),
        ("ExecSync", "container_id"),
        ("StopPodSandbox", "pod_sandbox_id"),
        ("RemovePodSandbox", "pod_sandbox_id"),
        ("StopContainer", "container_id"),
        ("RemoveContainer", "container_id"),
    ],
)
def test_empty_id(cri: CRI, method: str, field: str) -> None:
    """An empty id fails with INVALID_ARGUMENT; it does not match as a prefix of every id."""
    cri.run_in_pod()
    request = getattr(api, f"{method}Request")()
    assert field in refused(lambda: getattr(cri.runtime, method)(request), INVALID)
    assert len(cri.container_ids(state=api.ContainerStateValue(state=api.CONTAINER_RUNNING))) == 1


@pytest.mark.parametrize("bad_id", ["../../etc", "a/b", "a b", "a\0b", "?force=1", "#", "%2e%2e", "ü" * 20])
def test_odd_ids_are_not_found_or_refused(cri: CRI, bad_id: str) -> None:
    """An id with illegal characters does not reach the engine's URL; the call is refused or finds nothing."""
    status = api.ContainerStatusRequest(container_id=bad_id)
    codes = (grpc.StatusCode.NOT_FOUND, INVALID)
    refused(lambda: cri.runtime.ContainerStatus(status), *codes)
    refused(lambda: cri.pod_status(bad_id), *codes)
    refused(lambda: cri.execute(bad_id, "true"), *codes)


def test_exec_of_nothing(cri: CRI) -> None:
    """ExecSync without a command fails with INVALID_ARGUMENT."""
    _, container_id = cri.run_in_pod()
    assert "cmd" in refused(lambda: cri.execute(container_id), INVALID)


@pytest.mark.parametrize(
    "reference", ["", "team/UPPER", "a b", "a:b:c", "a@sha256:short", "http://a/b", "-a", "a\0b", "a" * 100_000]
)
def test_malformed_image_reference(cri: CRI, reference: str) -> None:
    """Pulling a malformed reference fails with INVALID_ARGUMENT; the text shortens a long one."""
    text = refused(lambda: cri.pull(reference), INVALID)
    assert "image" in text
    assert len(text) < 1000


def test_status_and_removal_of_no_image(cri: CRI) -> None:
    """ImageStatus and RemoveImage without an image fail with INVALID_ARGUMENT."""
    refused(lambda: cri.images.ImageStatus(api.ImageStatusRequest()), INVALID)
    refused(lambda: cri.images.RemoveImage(api.RemoveImageRequest()), INVALID)


def test_wrong_sizes_of_an_update(cri: CRI) -> None:
    """UpdateContainerResources with impossible values fails with INVALID_ARGUMENT and changes nothing."""
    config = cri.container()
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    pod = cri.pod()
    container_id = cri.run(cri.run_pod(pod), config, pod)
    for update in (
        api.LinuxContainerResources(memory_limit_in_bytes=-7),
        api.LinuxContainerResources(cpuset_cpus="nonsense"),
        api.LinuxContainerResources(cpu_quota=5),
    ):
        request = api.UpdateContainerResourcesRequest(container_id=container_id, linux=update)
        refused(lambda request=request: cri.runtime.UpdateContainerResources(request), INVALID)  # type: ignore[misc]
    assert cri.status(container_id).resources.linux.memory_limit_in_bytes == 64 << 20


def test_bytes_that_are_no_message(cri: CRI) -> None:
    """A call whose bytes are no protobuf message fails; the next call works."""
    raw = cri.channel.unary_unary("/runtime.v1.RuntimeService/RunPodSandbox")
    for body in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x03\xff\xfe\xfd"):
        with pytest.raises(grpc.RpcError):
            raw(body, timeout=10)
    cri.run_pod()


def test_message_beyond_the_limit(cri: CRI) -> None:
    """A request of more than 16 MiB fails; the next one works."""
    with grpc.insecure_channel(f"unix://{cri.socket}", options=[("grpc.max_send_message_length", -1)]) as channel:
        stub: Any = api_pb2_grpc.RuntimeServiceStub(channel)
        request = api.VersionRequest(version="x" * (17 << 20))
        refused(lambda: stub.Version(request, timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
    cri.runtime.Version(api.VersionRequest())


def test_unknown_methods_are_unimplemented(cri: CRI) -> None:
    """An unknown method fails with UNIMPLEMENTED, the only code on which kubelet falls back."""
    for name in ("/runtime.v1.RuntimeService/NoSuchMethod", "/runtime.v9.RuntimeService/Version"):
        raw = cri.channel.unary_unary(name)
        refused(lambda raw=raw: raw(b"", timeout=10), grpc.StatusCode.UNIMPLEMENTED)  # type: ignore[misc]


def test_large_but_legal(cri: CRI) -> None:
    """A container keeps a thousand variables, labels and annotations."""
    pod = cri.pod()
    many = {f"key-{number}": "v" * 100 for number in range(1000)}
    envs = [api.KeyValue(key=key.replace("-", "_"), value=value.encode()) for key, value in many.items()]
    config = cri.container(image=images.BUSYBOX, labels=many, annotations=many, envs=envs)
    status = cri.status(cri.run(cri.run_pod(pod), config, pod))
    assert dict(status.annotations) == many
    assert many.items() <= dict(status.labels).items()
