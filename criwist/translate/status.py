"""An inspected Docker container as a CRI container or sandbox.

The metadata of both is their Docker name, and their labels and annotations are their Docker labels, so that pods of
older shims read like criwist's.  Facts that the engine does not have are parameters; without one, the field keeps its
default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import NotFound
from criwist.interfaces.engine import JSONObject
from criwist.interfaces.records import SandboxRecord
from criwist.labels import LOG_PATH, NAME, SANDBOX_ID, USER_IMAGE, cri_labels
from criwist.names import ContainerName, parse_name
from criwist.translate.engine_json import member, number, text, text_map, texts
from criwist.translate.mount_status import mount_status
from criwist.translate.outcomes import never_killed, outcome
from criwist.translate.signals import cri_signal

#: Prefixes of ContainerStatus.image_ref, which kubelets and people know from the older shims.
PULLABLE_PREFIX = "docker-pullable://"
ID_PREFIX = "docker://"

_NO_IMAGES: Mapping[str, pb.Mount] = {}


def container_status(
    inspected: JSONObject,
    *,
    image: JSONObject | None = None,
    resources: pb.LinuxContainerResources | None = None,
    user: pb.LinuxContainerUser | None = None,
    image_mounts: Mapping[str, pb.Mount] = _NO_IMAGES,
    own_directory: str = "",
    oom_killed: Callable[[str], bool] = never_killed,
) -> pb.ContainerStatus:
    """Return the ContainerStatus of an inspected workload container.

    :param image: the container's image as inspected or listed; None if it is gone.
    :param resources: as read from the container's cgroup; None: as configured in the engine.
    :param user: of the container's first process; None while it is not known.
    :param image_mounts: as for ``mount_status``.
    :param own_directory: as for ``mount_status``.
    :param oom_killed: as for ``outcome``.
    :raises NotFound: the container's name is not one that a Kubernetes shim gives.
    :raises EngineFailure: the engine's document cannot be interpreted.
    """
    name = _name("container", inspected)
    came_to = outcome(inspected, oom_killed)
    docker_labels = text_map(inspected, "Config", "Labels")
    labels, annotations = cri_labels(docker_labels)
    return pb.ContainerStatus(
        id=text(inspected, "Id"),
        metadata=pb.ContainerMetadata(name=name.container, attempt=name.attempt),
        state=came_to.state,
        created_at=came_to.created_at,
        started_at=came_to.started_at,
        finished_at=came_to.finished_at,
        exit_code=came_to.exit_code,
        reason=came_to.reason,
        message=came_to.message,
        image=_image_shown(inspected, image),
        image_ref=_pullable(inspected, image),
        image_id=_image_id(inspected, image),
        labels=labels,
        annotations=annotations,
        mounts=mount_status(inspected, image_mounts=image_mounts, own_directory=own_directory),
        log_path=docker_labels.get(LOG_PATH, ""),
        resources=pb.ContainerResources(linux=resources or configured_resources(inspected)),
        user=None if user is None else pb.ContainerUser(linux=user),
        stop_signal=cri_signal(text(inspected, "Config", "StopSignal")),
    )


def container_item(inspected: JSONObject, *, image: JSONObject | None = None) -> pb.Container:
    """Return the item of ListContainers for an inspected workload container.

    Its image is the requested one, an id if kubelet asked; its image_ref is the image's id, as with the older shims.
    :func:`container_status` has names in both.

    :param image: the container's image as inspected or listed; None if it is gone.
    :raises NotFound: the container's name is not one that a Kubernetes shim gives.
    :raises EngineFailure: the engine's document cannot be interpreted.
    """
    name = _name("container", inspected)
    came_to = outcome(inspected)
    docker_labels = text_map(inspected, "Config", "Labels")
    labels, annotations = cri_labels(docker_labels)
    return pb.Container(
        id=text(inspected, "Id"),
        pod_sandbox_id=docker_labels.get(SANDBOX_ID, ""),
        metadata=pb.ContainerMetadata(name=name.container, attempt=name.attempt),
        image=_image_requested(inspected, image),
        image_ref=_image_id(inspected, image),
        image_id=_image_id(inspected, image),
        state=came_to.state,
        created_at=came_to.created_at,
        labels=labels,
        annotations=annotations,
    )


def configured_resources(inspected: JSONObject) -> pb.LinuxContainerResources:
    """Return the resources that are configured in the engine; 0 and ``""`` where none is."""
    host_config = member(inspected, "HostConfig")
    return pb.LinuxContainerResources(
        cpu_period=number(host_config, "CpuPeriod"),
        cpu_quota=number(host_config, "CpuQuota"),
        cpu_shares=number(host_config, "CpuShares"),
        memory_limit_in_bytes=number(host_config, "Memory"),
        memory_swap_limit_in_bytes=number(host_config, "MemorySwap"),
        oom_score_adj=number(host_config, "OomScoreAdj"),
        cpuset_cpus=text(host_config, "CpusetCpus"),
        cpuset_mems=text(host_config, "CpusetMems"),
    )


def sandbox_ready(inspected: JSONObject, *, record: SandboxRecord | None) -> bool:
    """Return whether the pause container runs and its network is set up, and has not been started again since.

    For a sandbox that an older shim made, the pause container alone counts.
    """
    if outcome(inspected).state != pb.CONTAINER_RUNNING:
        return False
    if record is None:
        return True
    if record.started_at and record.started_at != text(inspected, "State", "StartedAt"):
        return False
    adopted = not record.network_plugin
    return not record.stopped and (adopted or record.network is not None)


def sandbox_status(
    inspected: JSONObject,
    *,
    record: SandboxRecord | None,
    ready: bool,
    default_runtime: str = "",
    addresses: Sequence[str] = (),
) -> pb.PodSandboxStatus:
    """Return the PodSandboxStatus of an inspected pause container.

    :param ready: the result of :func:`sandbox_ready`.
    :param default_runtime: the engine's default runtime; a sandbox without a record has a handler if it uses another.
    :param addresses: of a sandbox whose record has no network, if they are known from elsewhere.
    :raises NotFound: the container's name is not one that a Kubernetes shim gives.
    :raises EngineFailure: the engine's document cannot be interpreted.
    """
    item = sandbox_item(inspected, record=record, ready=ready, default_runtime=default_runtime)
    ips = sandbox_addresses(inspected, record=record) or tuple(addresses)
    return pb.PodSandboxStatus(
        id=item.id,
        metadata=item.metadata,
        state=item.state,
        created_at=item.created_at,
        labels=item.labels,
        annotations=item.annotations,
        runtime_handler=item.runtime_handler,
        network=pb.PodSandboxNetworkStatus(
            ip=ips[0] if ips else "", additional_ips=[pb.PodIP(ip=address) for address in ips[1:]]
        ),
        linux=pb.LinuxPodSandboxStatus(namespaces=pb.Namespace(options=_namespaces(inspected, record))),
    )


def sandbox_item(
    inspected: JSONObject, *, record: SandboxRecord | None, ready: bool, default_runtime: str = ""
) -> pb.PodSandbox:
    """Return the item of ListPodSandbox for an inspected pause container; parameters as of :func:`sandbox_status`."""
    name = _name("sandbox", inspected)
    labels, annotations = cri_labels(text_map(inspected, "Config", "Labels"))
    return pb.PodSandbox(
        id=text(inspected, "Id"),
        metadata=pb.PodSandboxMetadata(name=name.pod, uid=name.uid, namespace=name.namespace, attempt=name.attempt),
        state=pb.SANDBOX_READY if ready else pb.SANDBOX_NOTREADY,
        created_at=outcome(inspected).created_at,
        labels=labels,
        annotations=annotations,
        runtime_handler=_handler(inspected, record, default_runtime),
    )


def sandbox_addresses(inspected: JSONObject, *, record: SandboxRecord | None) -> tuple[str, ...]:
    """Return the pod's addresses, in the network plugin's order; none on the host's network, and none after teardown.

    Without a recorded network, they are the addresses on the engine's own bridge.
    """
    if _on_host(inspected, "NetworkMode") or (record is not None and record.stopped):
        return ()
    if record is not None and record.network is not None:
        return record.network.addresses
    bridge = member(inspected, "NetworkSettings")
    given = (text(bridge, "IPAddress"), text(bridge, "GlobalIPv6Address"))
    return tuple(address for address in given if address)


def _namespaces(inspected: JSONObject, record: SandboxRecord | None) -> pb.NamespaceOption:
    own_pid = pb.POD if record is not None and record.shared_pid else pb.CONTAINER
    return pb.NamespaceOption(
        network=pb.NODE if _on_host(inspected, "NetworkMode") else pb.POD,
        pid=pb.NODE if _on_host(inspected, "PidMode") else own_pid,
        ipc=pb.NODE if _on_host(inspected, "IpcMode") else pb.POD,
    )


def _on_host(inspected: JSONObject, mode: str) -> bool:
    return text(inspected, "HostConfig", mode) == "host"


def _handler(inspected: JSONObject, record: SandboxRecord | None, default_runtime: str) -> str:
    """The requested handler; a sandbox of an older shim has one if its runtime is not the default."""
    if record is not None and record.network_plugin:
        return record.runtime_handler
    runtime = text(inspected, "HostConfig", "Runtime")
    return "" if runtime == default_runtime or not default_runtime else runtime


def _name(kind: str, inspected: JSONObject) -> ContainerName:
    name = parse_name(text(inspected, "Name"))
    if name is None:
        identifier = text(inspected, "Id")
        raise NotFound(kind, identifier, f"no Kubernetes shim named it {text(inspected, 'Name')!r}")
    return name


def _image_id(inspected: JSONObject, image: JSONObject | None) -> str:
    return text(image or {}, "Id") or text(inspected, "Image")


def _pullable(inspected: JSONObject, image: JSONObject | None) -> str:
    digests = [digest for digest in texts(image or {}, "RepoDigests") if "<none>" not in digest]
    return PULLABLE_PREFIX + digests[0] if digests else ID_PREFIX + _image_id(inspected, image)


def _image_requested(inspected: JSONObject, image: JSONObject | None) -> pb.ImageSpec:
    """The requested image.

    Kubelet requests an image by id and passes the author's spelling separately.  A container of an older shim lacks
    that spelling: a tag of the image takes its place, as it did under that shim.
    """
    wanted = text(inspected, "Config", "Image")
    docker_labels = text_map(inspected, "Config", "Labels")
    author = docker_labels.get(USER_IMAGE, "") if NAME in docker_labels else ""
    tags = [tag for tag in texts(image or {}, "RepoTags") if "<none>" not in tag]
    if wanted.startswith("sha256:") and not author and tags:
        wanted = tags[0]
    return pb.ImageSpec(image=wanted, user_specified_image=author)


def _image_shown(inspected: JSONObject, image: JSONObject | None) -> pb.ImageSpec:
    """The requested image under a name: kubelet puts it into the pod's status, which people and dashboards read."""
    spec = _image_requested(inspected, image)
    if spec.image.startswith("sha256:") and spec.user_specified_image:
        spec.image = spec.user_specified_image
    return spec
