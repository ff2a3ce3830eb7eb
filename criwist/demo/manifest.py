"""Translate a v1 Pod manifest to the CRI requests that kubelet would send.

Fields for the scheduler or for kubelet itself are listed and not applied.  Any other unknown field is an error, because
a pod must not run without, for example, its security context.
"""

from __future__ import annotations

import uuid
from fnmatch import fnmatchcase
from pathlib import Path

from attrs import field, frozen

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.demo.container_manifest import ContainerPlan, read_container
from criwist.demo.sections import ManifestError, Section
from criwist.demo.security_manifest import read_profile, set_user, supplemental_groups

#: Fields without a meaning for a runtime.  Shell patterns over paths.
_NOT_APPLIED = (
    "status",
    "metadata.*",
    "spec.affinity",
    "spec.nodeName",
    "spec.nodeSelector",
    "spec.priority*",
    "spec.preemptionPolicy",
    "spec.schedulerName",
    "spec.serviceAccount*",
    "spec.automountServiceAccountToken",
    "spec.enableServiceLinks",
    "spec.imagePullSecrets",
    "spec.tolerations",
    "spec.topologySpreadConstraints",
    "spec.activeDeadlineSeconds",
    "spec.*ontainers[[]*[]].*Probe",
    "spec.*ontainers[[]*[]].terminationMessage*",
    "spec.*ontainers[[]*[]].resources.*.*",
)


@frozen
class PodPlan:
    """A pod: the configuration for RunPodSandbox, and its containers in order."""

    config: api.PodSandboxConfig
    init_containers: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    #: Seconds between the stop signal and SIGKILL.
    grace: int
    #: Paths of fields that have no effect here.
    not_applied: tuple[str, ...] = field(default=())


def read_pod(document: object, directory: Path) -> PodPlan:
    """Read a manifest that was parsed from YAML.

    :param directory: an existing directory for this pod alone, for logs and ``emptyDir`` volumes.
    :raises ManifestError: it is malformed, or has a field that the demo does not know.
    """
    root = Section("", document)
    if (root.required("apiVersion"), root.required("kind")) != ("v1", "Pod"):
        raise ManifestError("kind", "must be Pod of apiVersion v1")
    metadata, spec = root.section("metadata"), root.section("spec")
    config = _sandbox(metadata, spec, directory)
    volumes = _volumes(spec, directory)
    init = tuple(read_container(section, config, volumes) for section in spec.sections("initContainers"))
    containers = tuple(read_container(section, config, volumes) for section in spec.sections("containers"))
    if not containers:
        raise ManifestError("spec.containers", "is required")
    grace = spec.whole("terminationGracePeriodSeconds", 30)
    not_applied = _without_effect(spec)
    for path in root.unread():
        if not any(fnmatchcase(path, pattern) for pattern in _NOT_APPLIED):
            raise ManifestError(path, "is not supported by this demo")
        not_applied.append(path)
    return PodPlan(config, init, containers, grace, tuple(not_applied))


def _without_effect(spec: Section) -> list[str]:
    found = []
    if spec.text("restartPolicy", "Always") != "Never":
        found.append("spec.restartPolicy (no container is restarted)")
    if spec.text("dnsPolicy", "Default") not in ("Default", "None"):
        found.append("spec.dnsPolicy (there is no cluster; the node's resolver is used)")
    return found


def _sandbox(metadata: Section, spec: Section, directory: Path) -> api.PodSandboxConfig:
    name, namespace, uid = metadata.required("name"), metadata.text("namespace", "default"), str(uuid.uuid4())
    own = {
        "io.kubernetes.pod.name": name,
        "io.kubernetes.pod.namespace": namespace,
        "io.kubernetes.pod.uid": uid,
    }
    dns = spec.section("dnsConfig")
    options = [f"{option.required('name')}:{option.text('value')}".rstrip(":") for option in dns.sections("options")]
    return api.PodSandboxConfig(
        metadata=api.PodSandboxMetadata(name=name, uid=uid, namespace=namespace),
        hostname=spec.text("hostname", name),
        log_directory=str(directory / "log"),
        dns_config=api.DNSConfig(servers=dns.texts("nameservers"), searches=dns.texts("searches"), options=options),
        port_mappings=[],
        labels=metadata.strings("labels") | own,
        annotations=metadata.strings("annotations"),
        linux=_linux_sandbox(spec),
    )


def _linux_sandbox(spec: Section) -> api.LinuxPodSandboxConfig:
    context = spec.section("securityContext")
    security = api.LinuxSandboxSecurityContext(
        namespace_options=api.NamespaceOption(
            network=api.NODE if spec.flag("hostNetwork") else api.POD,
            ipc=api.NODE if spec.flag("hostIPC") else api.POD,
            pid=_pid_mode(spec),
        ),
        supplemental_groups=supplemental_groups(context),
        seccomp=read_profile(context, api.SecurityProfile.RuntimeDefault),
    )
    set_user(security, context)
    sysctls = {sysctl.required("name"): sysctl.text("value") for sysctl in context.sections("sysctls")}
    return api.LinuxPodSandboxConfig(security_context=security, sysctls=sysctls)


def _pid_mode(spec: Section) -> api.NamespaceMode:
    host, shared = spec.flag("hostPID"), spec.flag("shareProcessNamespace")
    if host and shared:
        raise ManifestError("spec.shareProcessNamespace", "cannot be true together with hostPID")
    return api.NODE if host else api.POD if shared else api.CONTAINER


def _volumes(spec: Section, directory: Path) -> dict[str, str]:
    """Return host paths by volume name."""
    paths: dict[str, str] = {}
    for volume in spec.sections("volumes"):
        name = volume.required("name")
        if "hostPath" in volume:
            host_path = volume.section("hostPath")
            host_path.text("type")
            paths[name] = host_path.required("path")
        else:
            volume.section("emptyDir")  # a volume without a source is an emptyDir, too
            empty = directory / "volumes" / name
            empty.mkdir(parents=True)
            empty.chmod(0o777)
            paths[name] = str(empty)
    return paths
