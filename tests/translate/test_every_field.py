"""Every field that is set has an effect.

Every leaf field of a sandbox's and a container's configuration is set alone, to legal values, for the newest and for
the oldest engine.  It must change the outcome, or else be on one of the short lists below: refused, with the kind of
error that a client gets, or without effect, with the reason.  A field on a list must behave as the list says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.message import Message

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import CriwistError, FailedPrecondition, InvalidArgument, Unimplemented
from criwist.interfaces.engine import EngineFacts
from criwist.translate.cgroup import cgroup_writes
from criwist.translate.resources import oom_score, update_body
from tests.translate.leaves import Leaf, leaves
from tests.translate.outcomes import (
    NEWEST,
    OLDEST,
    container_outcome,
    minimal_container,
    minimal_sandbox,
    sandbox_outcome,
)

SECURITY = "linux.security_context"
OPTIONS = f"{SECURITY}.namespace_options"

_INFORMATION = "for the runtime's information (CRI); kubelet keeps the pod's cgroup itself"
_IMAGE_STORE = "for image stores that choose by it; Docker has one store for all"
_RESOLVED = "the digest that kubelet found image.image to be; image.image names the same image"

#: Fields, or everything below them, that say nothing about what is to be made.
SANDBOX_WITHOUT_EFFECT = {
    "linux.overhead": _INFORMATION,
    "linux.resources": _INFORMATION,
    f"{SECURITY}.supplemental_groups_policy": "is about groups in the pause image, whose program uses none",
    # Values that mean the same as saying nothing.
    f"{OPTIONS}.network=POD": "the default",
    f"{OPTIONS}.pid=POD": "the default",
    f"{OPTIONS}.pid=CONTAINER": "each container of the pod says so itself",
    f"{OPTIONS}.ipc=POD": "the default",
    f"{OPTIONS}.userns_options.mode=NODE": "the default",
    f"{SECURITY}.seccomp.profile_type=RuntimeDefault": "a pause container has it anyway",
    f"{SECURITY}.seccomp_profile_path=runtime/default": "a pause container has it anyway",
    f"{SECURITY}.apparmor.profile_type=RuntimeDefault": "the engine's default",
    "port_mappings[].protocol=TCP": "the default",
}
CONTAINER_WITHOUT_EFFECT = {
    "image.annotations": _IMAGE_STORE,
    "image.runtime_handler": _IMAGE_STORE,
    "image.image_ref": _RESOLVED,
    f"{SECURITY}.supplemental_groups_policy=Merge": "the default",
    f"{OPTIONS}.network=POD": "the default",
    f"{OPTIONS}.pid=POD": "the default",
    f"{OPTIONS}.ipc=POD": "the default",
    f"{OPTIONS}.userns_options.mode=NODE": "the default",
    f"{SECURITY}.seccomp.profile_type=Unconfined": "the default (CRI)",
    f"{SECURITY}.seccomp_profile_path=unconfined": "the default (CRI)",
    f"{SECURITY}.apparmor.profile_type=RuntimeDefault": "the engine's default",
    f"{SECURITY}.apparmor_profile=runtime/default": "equivalent to not specifying a profile (CRI)",
    "mounts[].propagation=PROPAGATION_PRIVATE": "the default",
    "stop_signal=SIGNAL_RUNTIME_DEFAULT": "the default",
}

_USER_NAMESPACE = {
    f"{OPTIONS}.userns_options.mode=POD": Unimplemented,
    f"{OPTIONS}.userns_options.mode=CONTAINER": InvalidArgument,
    f"{OPTIONS}.userns_options.mode=TARGET": InvalidArgument,
    f"{OPTIONS}.userns_options.uids": Unimplemented,
    f"{OPTIONS}.userns_options.gids": Unimplemented,
}
_MODES = {
    f"{OPTIONS}.{name}={mode}": InvalidArgument for name in ("network", "ipc") for mode in ("CONTAINER", "TARGET")
}
_PROFILES = {
    f"{SECURITY}.run_as_group.value": InvalidArgument,  # without a user
    f"{SECURITY}.seccomp.profile_type=Localhost": InvalidArgument,  # without a path
    f"{SECURITY}.seccomp.localhost_ref": InvalidArgument,  # of another type
    f"{SECURITY}.apparmor.profile_type=Localhost": InvalidArgument,  # without a name
    f"{SECURITY}.apparmor.localhost_ref": InvalidArgument,  # of another type
    f"{OPTIONS}.target_id": InvalidArgument,  # pid is not TARGET
}
SANDBOX_REFUSED = {**_USER_NAMESPACE, **_MODES, **_PROFILES, f"{OPTIONS}.pid=TARGET": InvalidArgument}
CONTAINER_REFUSED = {
    **_USER_NAMESPACE,
    **_MODES,
    **_PROFILES,
    f"{OPTIONS}.pid=TARGET": InvalidArgument,  # without target_id
    f"{OPTIONS}.network=NODE": InvalidArgument,  # the sandbox is not
    f"{OPTIONS}.ipc=NODE": InvalidArgument,  # the sandbox is not
    f"{SECURITY}.capabilities.add_ambient_capabilities": Unimplemented,
    "linux.resources.memory_swap_limit_in_bytes": InvalidArgument,  # without a memory limit
    "mounts[].recursive_read_only": InvalidArgument,  # not readonly
    "mounts[].image": InvalidArgument,  # together with a host path
    "mounts[].image_sub_path": InvalidArgument,  # without an image
    "mounts[].mount_options": Unimplemented,
    "mounts[].uidMappings": Unimplemented,
    "mounts[].gidMappings": Unimplemented,
}

#: What is different for the oldest engine, on a host without AppArmor, SELinux and cgroup v2.
OLDEST_WITHOUT_EFFECT = {
    f"{SECURITY}.apparmor.profile_type=Unconfined": "there is no AppArmor",
    f"{SECURITY}.apparmor_profile=unconfined": "there is no AppArmor",
    "mounts[].selinux_relabel": "there is no SELinux, and no label to give",
}
OLDEST_SANDBOX_REFUSED = {f"{SECURITY}.apparmor.profile_type=RuntimeDefault": FailedPrecondition}
OLDEST_CONTAINER_REFUSED = {
    f"{SECURITY}.apparmor.profile_type=RuntimeDefault": FailedPrecondition,
    f"{SECURITY}.apparmor_profile=localhost/profile": FailedPrecondition,
    "linux.resources.unified": FailedPrecondition,
    "CDI_devices": FailedPrecondition,
}

SANDBOX_VALUES = {
    "log_directory": ("/var/log/pods/pod",),
    "dns_config.servers": (["10.0.0.10"],),
    "port_mappings[].host_ip": ("10.0.0.1",),
    f"{SECURITY}.seccomp_profile_path": ("unconfined", "runtime/default", "localhost//profile.json"),
}
CONTAINER_VALUES = {
    "working_dir": ("/work",),
    "envs[].value": (b"other", "é\n".encode()),
    "mounts[].container_path": ("/elsewhere",),
    "mounts[].host_path": ("/other",),
    "devices[].container_path": ("/dev/elsewhere",),
    "devices[].host_path": ("/dev/zero",),
    "devices[].permissions": ("r", "mw"),
    "linux.resources.cpu_period": (50_000,),
    "linux.resources.cpu_quota": (20_000, -1),
    "linux.resources.memory_limit_in_bytes": (64 << 20,),
    "linux.resources.memory_swap_limit_in_bytes": (64 << 20, -1),
    "linux.resources.hugepage_limits[].page_size": ("1GB",),
    "linux.resources.hugepage_limits[].limit": (0, 1 << 30),
    "linux.resources.unified": ({"memory.high": "1000"}, {"memory.swap.max": "0"}),
    f"{SECURITY}.capabilities.add_capabilities": (["NET_ADMIN"], ["CAP_SYS_TIME"], ["ALL"]),
    f"{SECURITY}.capabilities.drop_capabilities": (["NET_RAW"], ["ALL"]),
    f"{SECURITY}.run_as_user.value": (0, 1000),
    f"{SECURITY}.seccomp_profile_path": (
        "unconfined", "runtime/default", "docker/default", "localhost//profile.json",
    ),
    f"{SECURITY}.apparmor_profile": ("unconfined", "runtime/default", "localhost/profile"),
}  # fmt: skip


def base_sandbox() -> pb.PodSandboxConfig:
    """A minimal sandbox with one element in each list of messages; its containers may be privileged."""
    config = minimal_sandbox()
    config.log_directory = "/var/log/pods/base"
    config.port_mappings.add(container_port=80, host_port=8080)
    return config


def base_container() -> pb.ContainerConfig:
    """A minimal container with one element in each list of messages."""
    config = minimal_container()
    config.envs.add(key="NAME", value=b"value")
    config.mounts.add(container_path="/data", host_path="/srv")
    config.devices.add(container_path="/dev/thing", host_path="/dev/null", permissions="rwm")
    config.linux.resources.hugepage_limits.add(page_size="2MB", limit=2 << 20)
    config.linux.security_context.SetInParent()
    return config


def _entry(leaf: Leaf, *tables: Mapping[str, Any]) -> Any:
    """Return the entry of the first table with the leaf's value, its field, or a message above it."""
    words = [f"{leaf.path}={leaf.shown}", leaf.path]
    words += [leaf.path[:end].removesuffix("[]") for end, letter in enumerate(leaf.path) if letter == "."]
    return next((table[word] for table in tables for word in words if word in table), None)


def _cases(message: Message, values: Mapping[str, tuple[Any, ...]]) -> Iterator[Any]:
    for engine, name in ((NEWEST, "newest"), (OLDEST, "oldest")):
        for leaf in leaves(message.DESCRIPTOR, values):  # type: ignore[arg-type]
            yield pytest.param(engine, leaf, id=f"{name}-{leaf.path}={leaf.shown!a}")


def _check(leaf: Leaf, outcome: Callable[[bool], Any], refused: type[CriwistError] | None, ignored: str | None) -> None:
    """Compare the outcome with the leaf set (True) and without, and compare that with the lists."""
    if refused is not None:
        with pytest.raises(refused):
            outcome(True)
    elif ignored is not None:
        assert outcome(True) == outcome(False), f"{leaf.path} has an effect, and is listed as having none: {ignored}"
    else:
        assert outcome(True) != outcome(False), f"{leaf.path} = {leaf.shown} disappears"


@pytest.mark.parametrize(("engine", "leaf"), list(_cases(pb.PodSandboxConfig(), SANDBOX_VALUES)))
def test_field_of_a_sandbox_counts(engine: EngineFacts, leaf: Leaf) -> None:
    """A field of PodSandboxConfig that is set changes the sandbox or its containers, or is on a list."""

    def outcome(with_leaf: bool) -> Any:
        config = base_sandbox()
        if with_leaf:
            leaf.set_in(config)
        return sandbox_outcome(config, engine)

    oldest = engine is OLDEST
    refused = _entry(leaf, OLDEST_SANDBOX_REFUSED if oldest else {}, SANDBOX_REFUSED)
    ignored = _entry(leaf, OLDEST_WITHOUT_EFFECT if oldest else {}, SANDBOX_WITHOUT_EFFECT)
    _check(leaf, outcome, refused, ignored)


@pytest.mark.parametrize(("engine", "leaf"), list(_cases(pb.ContainerConfig(), CONTAINER_VALUES)))
def test_field_of_a_container_counts(engine: EngineFacts, leaf: Leaf) -> None:
    """A field of ContainerConfig that is set changes the container, or is on a list."""
    sandbox_config = base_sandbox()
    sandbox_config.linux.security_context.privileged = True

    def outcome(with_leaf: bool) -> Any:
        config = base_container()
        if with_leaf:
            leaf.set_in(config)
        return container_outcome(config, sandbox_config, engine)

    oldest = engine is OLDEST
    refused = _entry(leaf, OLDEST_CONTAINER_REFUSED if oldest else {}, CONTAINER_REFUSED)
    ignored = _entry(leaf, OLDEST_WITHOUT_EFFECT if oldest else {}, CONTAINER_WITHOUT_EFFECT)
    _check(leaf, outcome, refused, ignored)


#: As those of a container's own resources, without the path to them.
UPDATE_VALUES = {
    path.removeprefix("linux.resources."): values
    for path, values in CONTAINER_VALUES.items()
    if path.startswith("linux.resources.")
}


@pytest.mark.parametrize(("engine", "leaf"), list(_cases(pb.LinuxContainerResources(), UPDATE_VALUES)))
def test_field_of_an_update_counts(engine: EngineFacts, leaf: Leaf) -> None:
    """A field of LinuxContainerResources that is set changes what an update does, or is refused."""

    def outcome(with_leaf: bool) -> Any:
        resources = pb.LinuxContainerResources()
        resources.hugepage_limits.add(page_size="2MB", limit=2 << 20)
        if with_leaf:
            leaf.set_in(resources)
        return (
            update_body(resources, engine=engine),
            cgroup_writes(resources, "linux", engine=engine),
            oom_score(resources, "linux", floor=-1000),
        )

    refused = {"memory_swap_limit_in_bytes": InvalidArgument}
    old = {"unified": FailedPrecondition} if engine is OLDEST else {}
    _check(leaf, outcome, _entry(leaf, refused, old), None)
