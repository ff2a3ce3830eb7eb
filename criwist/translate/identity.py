"""Which pod and container an inspected Docker container is.

criwist gives each container a name that tells it, and a label with the same text.  Names can be changed (``docker
rename``), labels cannot; but an image may bring any label, and Docker gives it to every container of the image.  So a
label is believed only of a container that is a pod's by what no image can write: a sandbox has a record, and a
container was put into the namespaces of the sandbox that its label names.  All others are known by their names, those
of older shims among them.
"""

from __future__ import annotations

from criwist import labels
from criwist.interfaces.engine import JSONObject
from criwist.names import ContainerName, parse_name
from criwist.translate.engine_json import text, text_map

_MODES = ("IpcMode", "NetworkMode", "PidMode")


def identity(inspected: JSONObject, *, recorded: bool) -> ContainerName | None:
    """Return the name that the container was created with; None if no Kubernetes shim made it.

    :param recorded: whether it is a sandbox with a record.
    """
    docker_labels = text_map(inspected, "Config", "Labels")
    kind = docker_labels.get(labels.TYPE)
    if kind not in (labels.SANDBOX, labels.CONTAINER):
        return None
    named = parse_name(text(inspected, "Name"))
    if not (recorded if kind == labels.SANDBOX else _in_namespaces_of(inspected, docker_labels.get(labels.SANDBOX_ID))):
        return named
    return parse_name(docker_labels.get(labels.NAME, "")) or named or _named_by_kubelet(docker_labels)


def _in_namespaces_of(inspected: JSONObject, sandbox_id: str | None) -> bool:
    """Whether a container was created in the namespaces of this sandbox; all but PID are always shared."""
    shared = f"container:{sandbox_id}"
    return bool(sandbox_id) and any(text(inspected, "HostConfig", mode) == shared for mode in _MODES)


def _named_by_kubelet(docker_labels: dict[str, str]) -> ContainerName | None:
    """The identity of a renamed container of an older shim, from the labels that kubelet sets; None without them."""
    sandbox = docker_labels[labels.TYPE] == labels.SANDBOX
    container = labels.SANDBOX_CONTAINER_NAME if sandbox else docker_labels.get(labels.CONTAINER_NAME, "")
    pod, namespace, uid = (docker_labels.get(f"io.kubernetes.pod.{part}", "") for part in ("name", "namespace", "uid"))
    attempt = docker_labels.get(f"{labels.ANNOTATION_PREFIX}io.kubernetes.container.restartCount", "0")
    return parse_name("_".join(("k8s", container, pod, namespace, uid, attempt))) if pod and uid else None
