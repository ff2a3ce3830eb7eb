"""Every field of a security context: capabilities, privileges, paths, seccomp, AppArmor and SELinux."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.engine import Engine
from tests.harness.inside import (
    MASKED,
    READONLY,
    RECENT,
    SYS_RESOURCE,
    capabilities,
    mounted,
    own_capabilities,
    process_status,
    run,
    secured,
)

CHOWN, NET_ADMIN, NET_RAW = 1 << 0, 1 << 12, 1 << 13

#: A profile that allows all system calls but mkdir.
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


Config = TypeVar("Config", api.PodSandboxConfig, api.ContainerConfig)


def apparmor() -> bool:
    """Return whether the kernel has AppArmor."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().strip() == "Y"


def profile(kind: int, reference: str = "") -> api.SecurityProfile:
    """Return a SecurityProfile."""
    return api.SecurityProfile(profile_type=kind, localhost_ref=reference)  # type: ignore[arg-type]


# -- capabilities


@pytest.mark.second_opinion
def test_capability_added(cri: CRI) -> None:
    """A root process has an added capability beside the default ones."""
    container_id = secured(cri, capabilities=api.Capability(add_capabilities=["NET_ADMIN"]))
    for name in ("CapBnd", "CapEff", "CapPrm"):
        assert capabilities(cri, container_id, name) & (NET_ADMIN | CHOWN) == NET_ADMIN | CHOWN


@pytest.mark.second_opinion
def test_capability_dropped(cri: CRI) -> None:
    """A dropped capability is in no set, with or without CAP_ before its name."""
    container_id = secured(cri, capabilities=api.Capability(drop_capabilities=["NET_RAW"]))
    assert not capabilities(cri, container_id) & NET_RAW
    assert capabilities(cri, container_id) & CHOWN


@pytest.mark.second_opinion
def test_all_capabilities_dropped_but_one(cri: CRI) -> None:
    """Drop ALL with an added capability leaves that one."""
    capability = api.Capability(drop_capabilities=["ALL"], add_capabilities=["NET_ADMIN"])
    assert capabilities(cri, secured(cri, capabilities=capability)) == NET_ADMIN


@pytest.mark.second_opinion
def test_all_capabilities_added_but_one(cri: CRI) -> None:
    """Add ALL with a dropped capability, here one that the engine itself may lack, gives all others.

    Docker 20.10 does not have the three capabilities of Linux 5.8 and 5.9.
    """
    capability = api.Capability(add_capabilities=["ALL"], drop_capabilities=["SYS_RESOURCE"])
    given = capabilities(cri, secured(cri, capabilities=capability))
    assert given | RECENT == (own_capabilities() & ~SYS_RESOURCE) | RECENT


@pytest.mark.newer_engines("docker-26", "docker-28")
@pytest.mark.second_opinion
@pytest.mark.parametrize("name", ["BPF", "SYS_RESOURCE"])
def test_drop_of_a_capability_that_the_engine_lacks(cri: CRI, name: str) -> None:
    """Dropping a capability that the engine itself may lack succeeds: the container does not have it."""
    bit = {"BPF": 1 << 39, "SYS_RESOURCE": SYS_RESOURCE}[name]
    container_id = secured(cri, capabilities=api.Capability(drop_capabilities=[name]))
    assert not capabilities(cri, container_id) & bit


@pytest.mark.second_opinion
def test_dropped_capability_is_not_added(cri: CRI) -> None:
    """A capability in both lists is dropped."""
    capability = api.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["NET_ADMIN"])
    assert not capabilities(cri, secured(cri, capabilities=capability)) & NET_ADMIN


@pytest.mark.second_opinion
def test_capabilities_of_another_user(cri: CRI) -> None:
    """A process that is not root has an added capability at most in its bounding set, on both runtimes."""
    container_id = secured(cri, run_as_user=1000, capabilities=api.Capability(add_capabilities=["NET_ADMIN"]))
    assert capabilities(cri, container_id) & NET_ADMIN
    assert capabilities(cri, container_id, "CapEff") == 0


def test_ambient_capabilities_are_refused(cri: CRI) -> None:
    """Ambient capabilities, which Docker does not have, are refused with the field's name."""
    capability = api.Capability(add_ambient_capabilities=["NET_ADMIN"])
    text = refused(lambda: secured(cri, capabilities=capability), grpc.StatusCode.UNIMPLEMENTED)
    assert "config.linux.security_context.capabilities.add_ambient_capabilities" in text


# -- privileges


@pytest.mark.second_opinion
@pytest.mark.parametrize("wanted", [False, True])
def test_no_new_privileges(cri: CRI, wanted: bool) -> None:
    """The process has the kernel's flag no_new_privs as configured."""
    assert process_status(cri, secured(cri, no_new_privs=wanted))["NoNewPrivs"] == str(int(wanted))


@pytest.mark.second_opinion
def test_privileged(cri: CRI) -> None:
    """A privileged container has every capability, no seccomp filter, a writable /sys and the host's devices."""
    if not own_capabilities() & SYS_RESOURCE:
        pytest.skip("the machine has not got all capabilities; test_fields_privileged has another way")
    pod = cri.pod()
    pod.linux.security_context.privileged = True
    container_id = secured(cri, pod, privileged=True, seccomp=profile(api.SecurityProfile.RuntimeDefault))
    assert capabilities(cri, container_id, "CapEff") | RECENT == own_capabilities() | RECENT
    assert process_status(cri, container_id)["Seccomp"] == "0"
    assert "rw" in mounted(cri, container_id)["/sys"][5].split(",")
    assert cri.execute(container_id, "test", "-e", "/dev/kmsg").exit_code == 0


@pytest.mark.second_opinion
def test_privileged_needs_a_privileged_sandbox(cri: CRI) -> None:
    """A privileged container in a sandbox that is not privileged is refused."""
    assert "privileged" in refused(lambda: secured(cri, privileged=True))


# -- the file system


@pytest.mark.second_opinion
@pytest.mark.parametrize("readonly", [False, True])
def test_readonly_root(cri: CRI, readonly: bool) -> None:
    """A read-only root file system refuses writes; /dev/shm takes them."""
    container_id = secured(cri, readonly_rootfs=readonly)
    assert (cri.execute(container_id, "touch", "/file").exit_code != 0) == readonly
    assert cri.execute(container_id, "touch", "/dev/shm/file").exit_code == 0


@pytest.mark.second_opinion
def test_masked_and_readonly_paths(cri: CRI) -> None:
    """Exactly the configured paths are masked or read-only."""
    container_id = secured(cri, masked_paths=["/proc/uptime"], readonly_paths=["/proc/sys"])
    points = mounted(cri, container_id)
    assert cri.output(container_id, "cat", "/proc/uptime") == ""
    assert "ro" in points["/proc/sys"][5].split(",")
    assert not {"/proc/kcore", "/proc/timer_list", "/proc/bus"} & points.keys()


def test_no_masked_paths(cri: CRI) -> None:
    """Empty lists mask no path, which procMount Unmasked needs; containerd 1.6 treats them as absent."""
    points = mounted(cri, secured(cri, no_new_privs=True))
    assert not [point for point in points if point.startswith("/proc/")]


@pytest.mark.second_opinion
def test_default_masked_paths(cri: CRI) -> None:
    """kubelet's lists for the default procMount are in force for all paths that the kernel has."""
    container_id = secured(cri, masked_paths=MASKED, readonly_paths=READONLY)
    points = mounted(cri, container_id)
    assert {path for path in (*MASKED, *READONLY) if Path(path).exists()} <= points.keys()
    assert cri.execute(container_id, "sh", "-c", "echo 1 > /proc/sys/kernel/panic").exit_code != 0


# -- seccomp


@pytest.mark.second_opinion
@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"seccomp": profile(api.SecurityProfile.RuntimeDefault)}, "2"),
        ({"seccomp": profile(api.SecurityProfile.Unconfined)}, "0"),
        ({"seccomp_profile_path": "runtime/default"}, "2"),
        ({"seccomp_profile_path": "docker/default"}, "2"),
        ({"seccomp_profile_path": "unconfined"}, "0"),
        ({}, "0"),
        ({"seccomp": profile(api.SecurityProfile.Unconfined), "seccomp_profile_path": "runtime/default"}, "0"),
    ],
)
def test_seccomp(cri: CRI, fields: dict[str, Any], mode: str) -> None:
    """The first process has a filter (mode 2) or none, as SecurityProfile or the older string says; the former wins."""
    assert process_status(cri, secured(cri, **fields))["Seccomp"] == mode


@pytest.mark.second_opinion
@pytest.mark.parametrize("spelling", ["message", "string"])
def test_seccomp_localhost(cri: CRI, tmp_path: Path, spelling: str) -> None:
    """A profile of the node is in force."""
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(NO_MKDIR, indent=2))
    container_id = (
        secured(cri, seccomp=profile(api.SecurityProfile.Localhost, str(path)))
        if spelling == "message"
        else secured(cri, seccomp_profile_path=f"localhost/{path}")
    )
    assert cri.execute(container_id, "touch", "/file").exit_code == 0
    assert cri.execute(container_id, "mkdir", "/directory").exit_code != 0


def test_seccomp_localhost_is_passed_as_it_is(cri: CRI, engine: Engine, tmp_path: Path) -> None:
    """The engine gets the profile's text byte for byte."""
    text = "\n " + json.dumps(NO_MKDIR | {"comment": "ü"}, indent=3, ensure_ascii=False) + "\n\n"
    (tmp_path / "profile.json").write_text(text, encoding="utf-8")
    container_id = secured(cri, seccomp=profile(api.SecurityProfile.Localhost, str(tmp_path / "profile.json")))
    assert engine.inspect(container_id)["HostConfig"]["SecurityOpt"] == [f"seccomp={text}"]


@pytest.mark.second_opinion
def test_seccomp_missing_file(cri: CRI, tmp_path: Path) -> None:
    """A profile that does not exist is an error that names it."""
    path = str(tmp_path / "missing.json")
    assert path in refused(lambda: secured(cri, seccomp=profile(api.SecurityProfile.Localhost, path)))


# -- AppArmor and SELinux


@pytest.mark.second_opinion
@pytest.mark.skipif(apparmor(), reason="the kernel has AppArmor")
@pytest.mark.parametrize(
    "fields",
    [
        {"apparmor": profile(api.SecurityProfile.Localhost, "some-profile")},
        {"apparmor": profile(api.SecurityProfile.RuntimeDefault)},
        {"apparmor_profile": "localhost/some-profile"},
    ],
)
def test_apparmor_without_kernel_support(cri: CRI, fields: dict[str, Any]) -> None:
    """A kernel without AppArmor refuses a profile; it is not ignored."""
    assert "apparmor" in refused(lambda: secured(cri, **fields)).lower()


@pytest.mark.second_opinion
@pytest.mark.skipif(not apparmor(), reason="the kernel has no AppArmor")
@pytest.mark.parametrize(
    ("fields", "confined"),
    [
        ({}, True),
        ({"apparmor": profile(api.SecurityProfile.RuntimeDefault)}, True),
        ({"apparmor": profile(api.SecurityProfile.Unconfined)}, False),
        ({"apparmor_profile": "unconfined"}, False),
        ({"apparmor_profile": "runtime/default"}, True),
    ],
)
def test_apparmor(cri: CRI, fields: dict[str, Any], confined: bool) -> None:
    """The runtime's default profile confines the first process, unless the configuration is unconfined."""
    container_id = secured(cri, **fields)
    assert (cri.output(container_id, "cat", "/proc/1/attr/current").strip("\0\n") != "unconfined") == confined


@pytest.mark.second_opinion
@pytest.mark.skipif(not apparmor(), reason="the kernel has no AppArmor")
def test_apparmor_profile_that_is_not_loaded(cri: CRI) -> None:
    """A profile that is not loaded on the node is an error that names it."""
    absent = profile(api.SecurityProfile.Localhost, "criwist-absent")
    assert "criwist-absent" in refused(lambda: secured(cri, apparmor=absent))


def test_selinux_label(cri: CRI, engine: Engine) -> None:
    """The engine gets the parts of the label.  No kernel of the tests has SELinux, so the test reads the request."""
    pod = cri.pod()
    label = api.SELinuxOption(user="system_u", role="system_r", type="container_t", level="s0:c1,c2")
    pod.linux.security_context.selinux_options.CopyFrom(label)
    config = cri.container()
    config.linux.security_context.selinux_options.CopyFrom(label)
    pod_id = cri.run_pod(pod)
    for identifier in (pod_id, cri.run(pod_id, config, pod)):
        options = engine.inspect(identifier)["HostConfig"]["SecurityOpt"]
        labels = {option for option in options if option.startswith("label=")}
        assert labels == {
            "label=user:system_u",
            "label=role:system_r",
            "label=type:container_t",
            "label=level:s0:c1,c2",
        }


# -- the sandbox's own


def shared_pid(config: Config) -> Config:
    """Return the configuration with a PID namespace that the pod shares, whose process 1 is the pause program."""
    config.linux.security_context.namespace_options.pid = api.POD
    return config


@pytest.mark.second_opinion
def test_sandbox_confinement(cri: CRI) -> None:
    """The pause program has the user and the seccomp profile of the sandbox."""
    pod = shared_pid(cri.pod())
    context = pod.linux.security_context
    context.run_as_user.value, context.run_as_group.value = 1234, 2345
    context.readonly_rootfs = True
    context.seccomp.profile_type = api.SecurityProfile.Unconfined
    status = process_status(cri, run(cri, shared_pid(cri.container()), pod))
    assert status["Uid"].split() == ["1234"] * 4
    assert status["Gid"].split() == ["2345"] * 4
    assert status["Seccomp"] == "0"


def test_pause_gains_no_privileges(cri: CRI) -> None:
    """The pause program has no_new_privs and the engine's seccomp profile, in a privileged pod too."""
    pod = shared_pid(cri.pod())
    pod.linux.security_context.privileged = True
    status = process_status(cri, run(cri, shared_pid(cri.container()), pod))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
