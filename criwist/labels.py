"""Docker labels of sandboxes and containers, as dockershim and cri-dockerd wrote them.

Docker has labels only, the CRI has labels and annotations: an annotation ``k`` becomes the label ``annotation.k``.
Internal labels mark the kind and the sandbox of a Docker container; the CRI does not show them.  Four more
(``io.criwist.…``) are criwist's own, for values that Docker has no field for; if an older shim takes the node over,
they show as ordinary labels.

Docker gives a container the labels of its image too, unless the request to create it has others.  So criwist sets each
internal label on each container, and one that lists the labels which the CRI request had: the CRI is shown no others.

The quirk of the older shims stays: a CRI label that begins with ``annotation.`` comes back as an annotation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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

#: The name that the container was created with (``names``).
NAME = "io.criwist.name"
#: The keys of the labels that the CRI request had, annotations among them: a JSON array, in order.
REQUESTED = "io.criwist.requested"

#: Labels that are not the CRI's: status does not show them, and a request must not set them.
RESERVED = frozenset({TYPE, SANDBOX_ID, LOG_PATH, USER_IMAGE, CGROUP, NAME, REQUESTED})


def sandbox_labels(labels: Mapping[str, str], annotations: Mapping[str, str], *, name: str) -> dict[str, str]:
    """Return the Docker labels of a sandbox with these CRI labels and annotations.

    :param name: the sandbox's Docker name.
    """
    own = dict.fromkeys(RESERVED, "") | {TYPE: SANDBOX, CONTAINER_NAME: SANDBOX_CONTAINER_NAME, NAME: name}
    return _docker_labels(labels, annotations) | own | _requested(labels, annotations)


def container_labels(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    *,
    name: str,
    sandbox_id: str,
    log_path: str,
    user_image: str,
    cgroup: str,
) -> dict[str, str]:
    """Return the Docker labels of a container in *sandbox_id* that logs to *log_path* (``""``: it has no log).

    :param name: the container's Docker name.
    :param user_image: the image as the pod's author wrote it; ``""`` if the CRI request does not have it.
    :param cgroup: the value of :data:`CGROUP`.
    """
    own = {TYPE: CONTAINER, NAME: name, SANDBOX_ID: sandbox_id, LOG_PATH: log_path}
    own |= {USER_IMAGE: user_image, CGROUP: cgroup}
    return _docker_labels(labels, annotations) | own | _requested(labels, annotations)


def cri_labels(docker_labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the CRI labels and annotations that these Docker labels stand for, in that order.

    Of a container of an older shim they are all labels, those of its image too: that shim kept no list.
    """
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    requested = _listed(docker_labels.get(REQUESTED, ""))
    sandbox = docker_labels.get(TYPE) == SANDBOX
    for key, value in docker_labels.items():
        if key in RESERVED or (sandbox and key == CONTAINER_NAME):
            continue
        if requested is not None and key not in requested:
            continue
        if key.startswith(ANNOTATION_PREFIX):
            annotations[key.removeprefix(ANNOTATION_PREFIX)] = value
        else:
            labels[key] = value
    return labels, annotations


def _requested(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, str]:
    return {REQUESTED: json.dumps(sorted(_docker_labels(labels, annotations)))}


def _listed(text: str) -> frozenset[str] | None:
    """The keys in a label :data:`REQUESTED`; None if it is none that criwist wrote."""
    try:
        keys: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        return None
    return frozenset(keys)


def _docker_labels(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, str]:
    return dict(labels) | {ANNOTATION_PREFIX + key: value for key, value in annotations.items()}
