"""Translate a container of a Pod manifest to the CreateContainer request that kubelet would send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.demo import quantities
from criwist.demo.sections import ManifestError, Section
from criwist.demo.security_manifest import read_profile, set_user

#: ``$(NAME)``, and ``$$(NAME)`` which stands for itself.
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")


@frozen
class ContainerPlan:
    """One container: the configuration for CreateContainer, and when its image is pulled."""

    config: api.ContainerConfig
    #: ``Always``, ``IfNotPresent``, ``Never``.
    pull_policy: str

    @property
    def name(self) -> str:
        """The container's name in the pod."""
        return str(self.config.metadata.name)


def read_container(section: Section, pod: api.PodSandboxConfig, volumes: Mapping[str, str]) -> ContainerPlan:
    """Read one container.

    :param pod: the container's host ports are added to it, and it becomes privileged if the container is.
    :param volumes: host paths by volume name.
    """
    name, image = section.required("name"), section.required("image")
    environment = _environment(section)
    labels = {"io.kubernetes.container.name": name} | {
        key: value for key, value in pod.labels.items() if key.startswith("io.kubernetes.pod.")
    }
    config = api.ContainerConfig(
        metadata=api.ContainerMetadata(name=name),
        image=api.ImageSpec(image=image, user_specified_image=image),
        command=[_expand(word, environment) for word in section.texts("command")],
        args=[_expand(word, environment) for word in section.texts("args")],
        working_dir=section.text("workingDir"),
        envs=[api.KeyValue(key=key, value=value.encode()) for key, value in environment.items()],
        mounts=_mounts(section, volumes),
        labels=labels,
        log_path=f"{name}.log",
        stdin=section.flag("stdin"),
        stdin_once=section.flag("stdinOnce"),
        tty=section.flag("tty"),
        linux=_linux_container(section, pod),
    )
    _publish(section, pod)
    latest = ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")
    policy = section.text("imagePullPolicy", "Always" if latest else "IfNotPresent")
    if policy not in ("Always", "IfNotPresent", "Never"):
        raise ManifestError(section.at("imagePullPolicy"), "must be Always, IfNotPresent or Never")
    return ContainerPlan(config, policy)


def _environment(section: Section) -> dict[str, str]:
    environment: dict[str, str] = {}
    for variable in section.sections("env"):
        environment[variable.required("name")] = _expand(variable.text("value"), environment)
    return environment


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable; a name that is not set stays as written."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environment.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def _mounts(section: Section, volumes: Mapping[str, str]) -> list[api.Mount]:
    mounts = []
    for mount in section.sections("volumeMounts"):
        name = mount.required("name")
        if name not in volumes:
            raise ManifestError(mount.at("name"), f"there is no volume {name!r}")
        sub_path = Path(mount.text("subPath"))
        if sub_path.is_absolute() or ".." in sub_path.parts:
            raise ManifestError(mount.at("subPath"), "must stay within the volume")
        source = Path(volumes[name], sub_path)
        mounts.append(
            api.Mount(
                container_path=mount.required("mountPath"), host_path=str(source), readonly=mount.flag("readOnly")
            )
        )
    return mounts


def _publish(section: Section, pod: api.PodSandboxConfig) -> None:
    for port in section.sections("ports"):
        port.text("name")
        protocol = port.text("protocol", "TCP")
        if protocol not in ("TCP", "UDP", "SCTP"):
            raise ManifestError(port.at("protocol"), "must be TCP, UDP or SCTP")
        container_port, host_port, host_ip = port.whole("containerPort"), port.whole("hostPort"), port.text("hostIP")
        if host_port:
            pod.port_mappings.add(
                protocol=api.Protocol.Value(protocol),
                container_port=container_port,
                host_port=host_port,
                host_ip=host_ip,
            )


def _linux_container(section: Section, pod: api.PodSandboxConfig) -> api.LinuxContainerConfig:
    context, pod_security = section.section("securityContext"), pod.linux.security_context
    capabilities = context.section("capabilities")
    security = api.LinuxContainerSecurityContext(
        capabilities=api.Capability(
            add_capabilities=capabilities.texts("add"), drop_capabilities=capabilities.texts("drop")
        ),
        privileged=context.flag("privileged"),
        namespace_options=pod_security.namespace_options,
        supplemental_groups=pod_security.supplemental_groups,
        readonly_rootfs=context.flag("readOnlyRootFilesystem"),
        no_new_privs=not context.flag("allowPrivilegeEscalation", default=True),
        seccomp=read_profile(context, pod_security.seccomp.profile_type),
    )
    set_user(security, context)
    for name in ("run_as_user", "run_as_group"):
        if not security.HasField(name) and pod_security.HasField(name):
            getattr(security, name).CopyFrom(getattr(pod_security, name))
    if security.privileged:
        pod_security.privileged = True
    return api.LinuxContainerConfig(resources=_resources(section.section("resources")), security_context=security)


def _resources(section: Section) -> api.LinuxContainerResources:
    limits, requests = section.section("limits"), section.section("requests")
    resources = api.LinuxContainerResources(cpu_period=quantities.CPU_PERIOD)
    cpu, memory, request = limits.scalar("cpu"), limits.scalar("memory"), requests.scalar("cpu")
    requests.scalar("memory")  # only the scheduler uses it
    try:
        if cpu:
            resources.cpu_quota = quantities.cpu_quota(cpu)
        if memory:
            resources.memory_limit_in_bytes = quantities.number_of_bytes(memory)
        if request or cpu:
            resources.cpu_shares = quantities.cpu_shares(request or cpu)
    except ValueError as error:
        raise ManifestError(section.path, str(error)) from None
    return resources
