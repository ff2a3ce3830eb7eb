"""Requests that are refused: ``criwist.translate.request_rules``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from twisted.trial.unittest import SynchronousTestCase

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import EngineFacts, RuntimeFacts
from criwist.translate.request_rules import check_request, runtime_handler


def sandbox_config() -> pb.PodSandboxConfig:
    """A sandbox configuration like a kubelet's."""
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name="web-0", namespace="default", uid="6f1b-22", attempt=1),
        hostname="web-0",
        log_directory="/var/log/pods/default_web-0_6f1b-22",
        dns_config=pb.DNSConfig(servers=["10.96.0.10", "fd00::10"], searches=["svc.local"], options=["ndots:5"]),
        port_mappings=[pb.PortMapping(container_port=80, host_port=8080, host_ip="127.0.0.1")],
        labels={"io.kubernetes.pod.name": "web-0"},
        annotations={"kubernetes.io/config.source": "api"},
        linux=pb.LinuxPodSandboxConfig(cgroup_parent="/kubepods/burstable/pod6f1b-22"),
    )


def container_config() -> pb.ContainerConfig:
    """A container configuration like a kubelet's."""
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="web", attempt=3),
        image=pb.ImageSpec(image="sha256:" + "0" * 64, user_specified_image="registry.example:5000/web:1"),
        command=["/bin/web"],
        args=["--port", ""],
        working_dir="/srv",
        envs=[pb.KeyValue(key="A", value="ä=b".encode()), pb.KeyValue(key="EMPTY")],
        mounts=[pb.Mount(container_path="/etc/hosts", host_path="/var/lib/kubelet/hosts")],
        log_path="web/3.log",
        labels={"io.kubernetes.container.name": "web"},
    )


def _create() -> pb.CreateContainerRequest:
    return pb.CreateContainerRequest(
        pod_sandbox_id="a" * 64, config=container_config(), sandbox_config=sandbox_config()
    )


def _run() -> pb.RunPodSandboxRequest:
    return pb.RunPodSandboxRequest(config=sandbox_config())


ACCEPTED: list[Message] = [
    _run(),
    _create(),
    pb.RunPodSandboxRequest(
        config=pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="a", namespace="b", uid="c"))
    ),
    pb.VersionRequest(version="anything"),
    pb.StatusRequest(verbose=True),
    pb.ListContainersRequest(filter=pb.ContainerFilter(id="abc")),
    pb.ListImagesRequest(),
    pb.StopPodSandboxRequest(pod_sandbox_id="abc"),
    pb.StopContainerRequest(container_id="abc", timeout=2**62),
    pb.StopContainerRequest(container_id="abc", timeout=-1),
    pb.PullImageRequest(image=pb.ImageSpec(image="a"), sandbox_config=pb.PodSandboxConfig()),
    pb.UpdateContainerResourcesRequest(container_id="abc", linux=pb.LinuxContainerResources()),
    pb.ExecSyncRequest(container_id="k8s_a_b_c_d_0", cmd=["true"], timeout=0),
    pb.ExecRequest(container_id="abc", cmd=["sh"], tty=True, stdin=True, stdout=True),
    pb.AttachRequest(container_id="abc", stderr=True),
    pb.PortForwardRequest(pod_sandbox_id="abc", port=[1, 65535]),
    pb.PortForwardRequest(pod_sandbox_id="abc"),
    pb.PullImageRequest(image=pb.ImageSpec(image="busybox"), sandbox_config=sandbox_config()),
    pb.ImageStatusRequest(image=pb.ImageSpec(image="busybox")),
    pb.ImageStatusRequest(image=pb.ImageSpec(image="0123abc")),
    pb.RemoveImageRequest(image=pb.ImageSpec(image="registry.example:5000/a/b@sha256:" + "0" * 64)),
    pb.CheckpointContainerRequest(container_id="abc", location="/var/lib/kubelet/checkpoints/a.tar"),
    pb.UpdateRuntimeConfigRequest(),
    pb.UpdateRuntimeConfigRequest(
        runtime_config=pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr="10.0.0.0/24,fd00::/64"))
    ),
]

Change = Callable[[pb.PodSandboxConfig], object]


def _set(**values: object) -> Callable[[Message], object]:
    def change(message: Message) -> object:
        for path, value in values.items():
            *parents, name = path.split("__")
            inner = message
            for parent in parents:
                inner = getattr(inner, parent)
            setattr(inner, name, value)
        return message

    return change


#: What is done to a good sandbox configuration, and which of its fields is then at fault.
BAD_SANDBOXES: list[tuple[str, Callable[[pb.PodSandboxConfig], object]]] = [
    ("metadata", lambda config: config.ClearField("metadata")),
    ("metadata.name", _set(metadata__name="")),
    ("metadata.name", _set(metadata__name="a_b")),
    ("metadata.name", _set(metadata__name="a/b")),
    ("metadata.name", _set(metadata__name="a" * 254)),
    ("metadata.namespace", _set(metadata__namespace="")),
    ("metadata.namespace", _set(metadata__namespace="a b")),
    ("metadata.uid", _set(metadata__uid="")),
    ("metadata.uid", _set(metadata__uid="1_2")),
    ("hostname", _set(hostname="a" * 65)),
    ("hostname", _set(hostname="a\n127.0.0.1 bank.example")),
    ("hostname", _set(hostname="-a")),
    ("log_directory", _set(log_directory="var/log")),
    ("log_directory", _set(log_directory="/" + "a" * 4096)),
    ("dns_config.servers[1]", lambda config: config.dns_config.servers.__setitem__(1, "1.1.1.1\noptions debug")),
    ("dns_config.servers[0]", lambda config: config.dns_config.servers.__setitem__(0, "dns.example")),
    ("dns_config.searches[0]", lambda config: config.dns_config.searches.__setitem__(0, "a b")),
    ("dns_config.options[0]", lambda config: config.dns_config.options.__setitem__(0, "")),
    ("port_mappings[0].container_port", lambda config: _set(container_port=0)(config.port_mappings[0])),
    ("port_mappings[0].container_port", lambda config: _set(container_port=65536)(config.port_mappings[0])),
    ("port_mappings[0].host_port", lambda config: _set(host_port=-1)(config.port_mappings[0])),
    ("port_mappings[0].host_ip", lambda config: _set(host_ip="localhost")(config.port_mappings[0])),
    ("port_mappings[0].protocol", lambda config: _set(protocol=3)(config.port_mappings[0])),
    (f"labels['{labels.TYPE}']", lambda config: config.labels.update({labels.TYPE: "container"})),
    (f"labels['{labels.CONTAINER_NAME}']", lambda config: config.labels.update({labels.CONTAINER_NAME: "a"})),
    ("linux.cgroup_parent", _set(linux__cgroup_parent="/kubepods/../../etc")),
    ("annotations['a']", lambda config: config.annotations.update({"a": "\0"})),
    ("windows", lambda config: config.windows.SetInParent()),
]

BAD_CONTAINERS: list[tuple[str, Callable[[pb.ContainerConfig], object]]] = [
    ("metadata", lambda config: config.ClearField("metadata")),
    ("metadata.name", _set(metadata__name="")),
    ("metadata.name", _set(metadata__name="a_b")),
    ("metadata.name", _set(metadata__name="POD")),
    ("image.image", lambda config: config.ClearField("image")),
    ("image.image", _set(image__image="")),
    ("image.image", _set(image__image="a b")),
    ("image.image", _set(image__image="registry.example/UPPER")),
    ("working_dir", _set(working_dir="srv")),
    ("log_path", _set(log_path="/web/0.log")),
    ("log_path", _set(log_path="../web/0.log")),
    ("log_path", _set(log_path="web/..")),
    ("envs[0].key", lambda config: _set(key="")(config.envs[0])),
    ("envs[0].key", lambda config: _set(key="A=B")(config.envs[0])),
    ("envs[0].value", lambda config: _set(value=b"\xff")(config.envs[0])),
    ("envs[1].value", lambda config: _set(value=b"\0")(config.envs[1])),
    ("mounts[0].container_path", lambda config: _set(container_path="")(config.mounts[0])),
    ("mounts[0].container_path", lambda config: _set(container_path="etc")(config.mounts[0])),
    ("mounts[0].host_path", lambda config: _set(host_path="/" + "a" * 4095)(config.mounts[0])),
    ("mounts[0].propagation", lambda config: _set(propagation=9)(config.mounts[0])),
    (f"labels['{labels.SANDBOX_ID}']", lambda config: config.labels.update({labels.SANDBOX_ID: "a"})),
    (f"labels['{labels.USER_IMAGE}']", lambda config: config.labels.update({labels.USER_IMAGE: "a"})),
    ("stop_signal", _set(stop_signal=99)),
    ("windows", lambda config: config.windows.SetInParent()),
]

#: Other requests, and the field at fault.
BAD_REQUESTS: list[tuple[str, Message]] = [
    ("config", pb.RunPodSandboxRequest()),
    ("pod_sandbox_id", pb.CreateContainerRequest()),
    ("config", pb.CreateContainerRequest(pod_sandbox_id="a")),
    ("sandbox_config", pb.CreateContainerRequest(pod_sandbox_id="a", config=container_config())),
    ("pod_sandbox_id", pb.StopPodSandboxRequest()),
    ("pod_sandbox_id", pb.RemovePodSandboxRequest(pod_sandbox_id="../images")),
    ("pod_sandbox_id", pb.PodSandboxStatusRequest(pod_sandbox_id="a?size=1")),
    ("pod_sandbox_id", pb.PodSandboxStatsRequest()),
    ("pod_sandbox_id", pb.UpdatePodSandboxResourcesRequest()),
    ("container_id", pb.StartContainerRequest()),
    ("container_id", pb.StopContainerRequest()),
    ("container_id", pb.RemoveContainerRequest(container_id="a b")),
    ("container_id", pb.ContainerStatusRequest()),
    ("container_id", pb.ContainerStatsRequest()),
    ("container_id", pb.ReopenContainerLogRequest()),
    ("container_id", pb.UpdateContainerResourcesRequest(linux=pb.LinuxContainerResources())),
    ("linux", pb.UpdateContainerResourcesRequest(container_id="a")),
    ("cmd", pb.ExecSyncRequest(container_id="a")),
    ("cmd", pb.ExecSyncRequest(container_id="a", cmd=[""])),
    ("timeout", pb.ExecSyncRequest(container_id="a", cmd=["true"], timeout=-1)),
    ("timeout", pb.ExecSyncRequest(container_id="a", cmd=["true"], timeout=2**31)),
    ("cmd", pb.ExecRequest(container_id="a", stdout=True)),
    ("stderr", pb.ExecRequest(container_id="a", cmd=["a"], tty=True, stderr=True, stdout=True)),
    ("stdin", pb.ExecRequest(container_id="a", cmd=["a"], tty=True)),
    ("stderr", pb.AttachRequest(container_id="a", tty=True, stderr=True)),
    ("stdin", pb.AttachRequest(container_id="a")),
    ("port[1]", pb.PortForwardRequest(pod_sandbox_id="a", port=[80, 0])),
    ("port[0]", pb.PortForwardRequest(pod_sandbox_id="a", port=[70000])),
    ("image.image", pb.PullImageRequest()),
    ("image.image", pb.PullImageRequest(image=pb.ImageSpec(image="a\nb"))),
    ("image.image", pb.PullImageRequest(image=pb.ImageSpec(image="http://a/b"))),
    ("image.image", pb.PullImageRequest(image=pb.ImageSpec(image="a" * 100_000))),
    ("image.image", pb.ImageStatusRequest()),
    ("image.image", pb.RemoveImageRequest()),
    ("location", pb.CheckpointContainerRequest(container_id="a", location="a.tar")),
    ("filter.state.state", pb.ListContainersRequest(filter={"state": {"state": 9}})),
]

BAD_CIDRS = ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/24,10.1.0.0/24", "10.0.0.0/24,", "a/24", "fd00::/64,fd01::/64"]


@pytest.mark.parametrize("request_", ACCEPTED, ids=lambda request: type(request).__name__)
def test_accepted(request_: Message) -> None:
    """Requests of kubelets and crictl pass."""
    check_request(request_)


@pytest.mark.parametrize(("field", "change"), BAD_SANDBOXES)
def test_bad_sandbox(field: str, change: Callable[[pb.PodSandboxConfig], object]) -> None:
    """A sandbox configuration with one wrong field is refused in every request, and the error names the field."""
    run, create = _run(), _create()
    change(run.config)
    change(create.sandbox_config)
    for request, path in ((run, "config"), (create, "sandbox_config")):
        with pytest.raises(InvalidArgument) as caught:
            check_request(request)
        assert caught.value.field == f"{path}.{field}"


@pytest.mark.parametrize(("field", "change"), BAD_CONTAINERS)
def test_bad_container(field: str, change: Callable[[pb.ContainerConfig], object]) -> None:
    """A container configuration with one wrong field is refused, and the error names the field."""
    create = _create()
    change(create.config)
    with pytest.raises(InvalidArgument) as caught:
        check_request(create)
    assert caught.value.field == f"config.{field}"


@pytest.mark.parametrize(("field", "request_"), BAD_REQUESTS)
def test_bad_request(field: str, request_: Message) -> None:
    """A request with one wrong field is refused, and the error names the field."""
    with pytest.raises(InvalidArgument) as caught:
        check_request(request_)
    assert caught.value.field == field


@pytest.mark.parametrize("cidr", BAD_CIDRS)
def test_bad_pod_cidr(cidr: str) -> None:
    """A malformed pod CIDR, or two of one family, is refused."""
    request = pb.UpdateRuntimeConfigRequest()
    request.runtime_config.network_config.pod_cidr = cidr
    with pytest.raises(InvalidArgument) as caught:
        check_request(request)
    assert caught.value.field == "runtime_config.network_config.pod_cidr"


class RuntimeHandlerTests(SynchronousTestCase):
    """Runtime handlers and the engine's runtimes."""

    facts = EngineFacts(
        default_runtime="runc",
        runtimes={name: RuntimeFacts(name) for name in ("runc", "io.containerd.runc.v2", "kata")},
    )

    def test_default(self) -> None:
        """Without a handler the runtime is the engine's default, and so it is for the older shims' alias."""
        self.assertEqual(runtime_handler("", self.facts), "runc")
        self.assertEqual(runtime_handler("docker", self.facts), "runc")

    def test_known(self) -> None:
        """Every runtime of the engine is a handler by its own name."""
        for name in self.facts.runtimes:
            self.assertEqual(runtime_handler(name, self.facts), name)

    def test_runtime_called_docker(self) -> None:
        """A runtime with the alias as its name wins over the alias."""
        facts = EngineFacts(runtimes={"docker": RuntimeFacts("docker"), "runc": RuntimeFacts("runc")})
        self.assertEqual(runtime_handler("docker", facts), "docker")

    def test_unknown(self) -> None:
        """An unknown handler is refused; the error names it and lists the known ones."""
        error = self.assertRaises(InvalidArgument, runtime_handler, "gvisor", self.facts)
        self.assertEqual(error.field, "runtime_handler")
        self.assertEqual(
            error.problem, "the engine has no runtime 'gvisor'; it has docker, io.containerd.runc.v2, kata, runc"
        )
