"""Docker labels of sandboxes and containers, as dockershim and cri-dockerd wrote them.

Docker has labels only, the CRI has labels and annotations: an annotation ``k`` becomes the label ``annotation.k``.
Internal labels mark the kind and the sandbox of a Docker container; the CRI does not show them.  Two more
(``io.criwist.…``) are criwist's own, for values that Docker has no field for; if an older shim takes the node over,
they show as ordinary labels.

The quirk of the older shims stays: a CRI label that begins with ``annotation.`` comes back as an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping

ANNOTATION_PREFIX = "annotation."
#: ``podsandbox`` or ``container``; Docker containers without it are not Kubernetes'.
TYPE = "io.kubernetes.docker.type"
SANDBOX = "podsandbox"
CONTAINER = "container"
#: On a container: the Docker id of its sandbox.
SANDBOX_ID = "io.kubernetes.sandbox.id"
#: On a container: the absolute path of the log that kubelet reads.
LOG_PATH = "io.kubernetes.container.logpath"
#: On a sandbox: always ``POD``, for old tools.
CONTAINER_NAME = "io.kubernetes.container.name"
SANDBOX_CONTAINER_NAME = "POD"
#: On a container: the image as the pod's author wrote it (``ImageSpec.user_specified_image``).
USER_IMAGE = "io.criwist.user-image"
#: On a container: the limits that are written to its cgroup once it runs, as JSON (``translate.cgroup``).
CGROUP = "io.criwist.cgroup"

#: Labels that are not the CRI's: status does not show them, and a request must not set them.
RESERVED = frozenset({TYPE, SANDBOX_ID, LOG_PATH, USER_IMAGE, CGROUP})


def sandbox_labels(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the Docker labels of a sandbox with these CRI labels and annotations."""
    return _docker_labels(labels, annotations) | {TYPE: SANDBOX, CONTAINER_NAME: SANDBOX_CONTAINER_NAME}


def container_labels(
    labels: Mapping[str, str], annotations: Mapping[str, str], *, sandbox_id: str, log_path: str, user_image: str = ""
) -> dict[str, str]:
    """Return the Docker labels of a container in *sandbox_id* that logs to *log_path* (``""``: it has no log).

    :param user_image: the image as the pod's author wrote it, if the CRI request has it.
    """
    return (
        _docker_labels(labels, annotations)
        | {TYPE: CONTAINER, SANDBOX_ID: sandbox_id, LOG_PATH: log_path}
        | ({USER_IMAGE: user_image} if user_image else {})
    )


def cri_labels(docker_labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the CRI labels and annotations that these Docker labels stand for, in that order."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    sandbox = docker_labels.get(TYPE) == SANDBOX
    for key, value in docker_labels.items():
        if key in RESERVED or (sandbox and key == CONTAINER_NAME):
            continue
        if key.startswith(ANNOTATION_PREFIX):
            annotations[key.removeprefix(ANNOTATION_PREFIX)] = value
        else:
            labels[key] = value
    return labels, annotations


def _docker_labels(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, str]:
    return dict(labels) | {ANNOTATION_PREFIX + key: value for key, value in annotations.items()}
