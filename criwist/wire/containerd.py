"""The messages of containerd's API that cAdvisor exchanges with it: three unary methods.

kubelet's built-in cAdvisor asks containerd for the labels, the image and the pid of a container, and for nothing else:

=====================================================  =================================  =====================
method                                                 request                            response
=====================================================  =================================  =====================
``/containerd.services.version.v1.Version/Version``    empty                              version, revision
``/containerd.services.containers.v1.Containers/Get``  1: id                              1: container
``/containerd.services.tasks.v1.Tasks/Get``            1: container id, 2: exec id        1: process
=====================================================  =================================  =====================

The messages are small, so they are framed by hand.  Field numbers: containerd's ``api/services/*/v1/*.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from criwist.wire.protobuf import message_field, number_field, read_fields, text_field

VERSION_SERVICE: Final = "containerd.services.version.v1.Version"
CONTAINERS_SERVICE: Final = "containerd.services.containers.v1.Containers"
TASKS_SERVICE: Final = "containerd.services.tasks.v1.Tasks"

#: The gRPC metadata that names a namespace of containerd, and the namespace of Kubernetes' containers.
NAMESPACE_KEY: Final = "containerd-namespace"
NAMESPACE: Final = "k8s.io"

#: The label that tells sandboxes from containers, and its values.  cAdvisor keeps network series of sandboxes only.
KIND: Final = "io.cri-containerd.kind"
SANDBOX: Final = "sandbox"
CONTAINER: Final = "container"

_SPEC_TYPE: Final = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
#: cAdvisor dereferences ``process``: without it, kubelet itself panics.  The environment stays out: it holds secrets.
_SPEC: Final = b'{"process":{}}'
#: ``containerd.v1.types.Status``
_RUNNING: Final = 2
_ID: Final = 1


def requested_id(request: bytes) -> str:
    """Return the id in a serialized request of either Get; ``""`` if it has none.

    :raises ValueError: the request is not a message with a string in field 1.
    """
    identifier = ""
    for number, value in read_fields(request):
        if number == _ID:
            if isinstance(value, int):
                raise ValueError("the id is no string")
            identifier = value.decode("utf-8")
    return identifier


def version_response(version: str, revision: str = "") -> bytes:
    """Return a serialized VersionResponse."""
    return text_field(1, version) + text_field(2, revision)


def container_response(identifier: str, labels: Mapping[str, str], *, image: str, runtime: str) -> bytes:
    """Return a serialized GetContainerResponse.

    Members that cAdvisor dereferences, the runtime and the spec, are present whatever they hold.

    :param image: the image's name.
    :param runtime: the name of the OCI runtime; ``""`` if it is not known.
    """
    pairs = (text_field(1, key) + text_field(2, value) for key, value in labels.items())
    container = b"".join(
        (
            text_field(1, identifier),
            *(message_field(2, pair) for pair in pairs),
            text_field(3, image),
            message_field(4, text_field(1, runtime)),
            message_field(5, text_field(1, _SPEC_TYPE) + message_field(2, _SPEC)),
            text_field(7, identifier),
        )
    )
    return message_field(1, container)


def task_response(identifier: str, pid: int) -> bytes:
    """Return a serialized GetResponse of a running task, whose first process has this *pid* on the host."""
    process = text_field(1, identifier) + text_field(2, identifier) + number_field(3, pid) + number_field(4, _RUNNING)
    return message_field(1, process)
