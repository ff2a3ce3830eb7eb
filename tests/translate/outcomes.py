"""The outcome of a sandbox or container configuration: all results of the translation, as one value.

Two engines stand for all: the newest, on a host with every security module, and the oldest that criwist supports, on a
host with none but seccomp.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import CriwistError
from criwist.interfaces.engine import EngineFacts, RuntimeFacts
from criwist.names import ContainerName, sandbox_name
from criwist.translate import container, sandbox
from criwist.translate.mounts import host_directories, image_mounts_wanted
from criwist.translate.namespaces import node_network
from criwist.translate.pod_network import network_request
from criwist.translate.request_rules import check_request
from criwist.translate.security import LOADED_PROFILES
from criwist.translate.users import Accounts

SANDBOX_ID = "5" * 64

NEWEST = EngineFacts(
    version="29.0.0",
    api_version=(1, 52),
    cgroup_driver="systemd",
    cgroup_version=2,
    runtimes={"runc": RuntimeFacts("runc", recursive_read_only=True)},
    security=frozenset({"apparmor", "seccomp", "selinux", "cgroupns"}),
)
OLDEST = EngineFacts(
    version="20.10.24",
    api_version=(1, 41),
    runtimes={"runc": RuntimeFacts("runc")},
    security=frozenset({"seccomp"}),
)

ACCOUNTS = Accounts(
    passwd=b"root:x:0:0:root:/root:/bin/sh\nalice:x:1003:100:alice:/home/alice:/bin/sh\n",
    group=b"root:x:0:\nusers:x:100:\nextra:x:2000:alice\n",
)


def minimal_sandbox() -> pb.PodSandboxConfig:
    """The smallest request of a kubelet."""
    metadata = pb.PodSandboxMetadata(name="pod", uid="uid", namespace="default", attempt=0)
    return pb.PodSandboxConfig(metadata=metadata)


def minimal_container() -> pb.ContainerConfig:
    """The smallest request of a kubelet."""
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="main", attempt=0), image=pb.ImageSpec(image="busybox")
    )


def sandbox_outcome(config: pb.PodSandboxConfig, engine: EngineFacts, *, publish_ports: bool = True) -> Any:
    """Return the result of RunPodSandbox for *config*, and its effect on the pod's containers."""
    check_request(pb.RunPodSandboxRequest(config=config))
    metadata = config.metadata
    files = sandbox.needed_files(config)
    name = str(sandbox_name(metadata.name, metadata.namespace, metadata.uid, metadata.attempt))
    body = sandbox.sandbox_body(
        config,
        name=name,
        image="pause",
        runtime="runc",
        network_mode="none",
        publish_ports=publish_ports,
        engine=engine,
        oom_score_floor=-1000,
        files=_contents(files),
    )
    privileged = minimal_container()
    privileged.linux.security_context.privileged = True
    return _plain(
        name,
        files,
        body,
        repr(network_request(SANDBOX_ID, config)),
        _container(_with_log(minimal_container()), config, engine),
        _or_error(privileged, config, engine),
    )


def container_outcome(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig, engine: EngineFacts) -> Any:
    """Return the result of CreateContainer for *config*."""
    request = pb.CreateContainerRequest(pod_sandbox_id=SANDBOX_ID, config=config, sandbox_config=sandbox_config)
    check_request(request)
    return _plain(_name(config, sandbox_config), _container(config, sandbox_config, engine))


def _name(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig) -> str:
    pod = sandbox_config.metadata
    return str(ContainerName(config.metadata.name, pod.name, pod.namespace, pod.uid, config.metadata.attempt))


def _container(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig, engine: EngineFacts) -> Any:
    files = container.needed_files(config)
    images = image_mounts_wanted(config)
    body = container.container_body(
        config,
        sandbox_config,
        name=_name(config, sandbox_config),
        sandbox_id=SANDBOX_ID,
        host_network=node_network(sandbox_config),
        runtime="runc",
        image=config.image.image,
        log_config={},
        engine=engine,
        oom_score_floor=-1000,
        files=_contents(files),
        image_mounts={
            index: _image_id(mount.image.image) if engine is NEWEST else f"/images/{index}"
            for index, mount in images.items()
        },
        accounts=ACCOUNTS if container.needs_accounts(config) else None,
    )
    # With an older engine the caller mounts images: the image and sub path that it gets belong to the outcome.
    caller_mounts = {str(index): (mount.image.image, mount.image_sub_path) for index, mount in images.items()}
    return [files, host_directories(config, engine=engine), caller_mounts, body]


def _with_log(config: pb.ContainerConfig) -> pb.ContainerConfig:
    config.log_path = "main_0.log"
    return config


def _or_error(config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig, engine: EngineFacts) -> Any:
    try:
        return _container(config, sandbox_config, engine)
    except CriwistError as error:
        return str(error)


def _contents(paths: tuple[str, ...]) -> Mapping[str, bytes]:
    contents = {LOADED_PROFILES: b"profile (enforce)\n"}
    return {path: contents.get(path, b'{"defaultAction": "SCMP_ACT_ALLOW"}') for path in paths}


def _plain(*parts: Any) -> Any:
    """The parts as JSON: a value that cannot be sent to an engine fails here."""
    return json.loads(json.dumps(parts))


def _image_id(reference: str) -> str:
    """The id of the engine's image with this reference."""
    return f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"
