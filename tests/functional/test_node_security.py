"""Confinement of containers on a whole node: loaded AppArmor profiles, scores of the OOM killer, low ports."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.kernel.process_identity import CAP_SYS_RESOURCE
from tests.harness.client import CRI
from tests.harness.clock import scaled
from tests.harness.inside import own_capabilities, run, secured

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
needs_apparmor = pytest.mark.skipif(
    not _ENABLED.exists() or _ENABLED.read_text().strip() != "Y", reason="the kernel has no AppArmor"
)

PROFILE = "criwist-tests-no-write"
#: Allows everything except writing below /data.
_TEXT = f"""\
abi <abi/3.0>,
profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  file,
  network,
  capability,
  signal,
  ptrace,
  umount,
  deny /data/** wl,
}}
"""


@pytest.fixture
def loaded() -> Iterator[str]:
    """The name of a loaded profile."""
    _parse("--replace")
    yield PROFILE
    _parse("--remove")


def _parse(action: str) -> None:
    subprocess.run(["apparmor_parser", action], input=_TEXT, text=True, check=True, timeout=scaled(30))


def label(cri: CRI, container_id: str) -> str:
    """Return the AppArmor label of the container's first process."""
    return cri.output(container_id, "cat", "/proc/1/attr/current").strip("\0\n")


@needs_apparmor
@pytest.mark.second_opinion
@pytest.mark.parametrize("spelling", ["message", "string"])
def test_apparmor_profile_of_the_node(cri: CRI, loaded: str, spelling: str) -> None:
    """A loaded profile confines the container, in both spellings of the request."""
    localhost = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref=loaded)
    container_id = (
        secured(cri, apparmor=localhost)
        if spelling == "message"
        else secured(cri, apparmor_profile=f"localhost/{loaded}")
    )
    assert label(cri, container_id) == f"{loaded} (enforce)"
    assert cri.execute(container_id, "touch", "/out/file").exit_code == 0
    assert cri.execute(container_id, "touch", "/data/new").exit_code != 0


@needs_apparmor
def test_apparmor_default_is_dockers(cri: CRI) -> None:
    """The runtime's default profile is the engine's, enforced; it forbids writing to most of /proc/sys."""
    runtime_default = api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault)
    assert label(cri, secured(cri, apparmor=runtime_default)) == "docker-default (enforce)"


@needs_apparmor
@pytest.mark.second_opinion
def test_apparmor_of_a_privileged_container(cri: CRI) -> None:
    """A privileged container is not confined."""
    pod = cri.pod()
    pod.linux.security_context.privileged = True
    config = cri.container()
    config.linux.security_context.privileged = True
    assert label(cri, run(cri, config, pod)) == "unconfined"


@pytest.mark.second_opinion
@pytest.mark.parametrize("confined", [True, False])
def test_seccomp_default_is_in_force(cri: CRI, confined: bool) -> None:
    """The default profile forbids user namespaces to an unprivileged user; unconfined, the kernel allows them.

    AppArmor may forbid it too, and so is left out of this.
    """
    kind = api.SecurityProfile.RuntimeDefault if confined else api.SecurityProfile.Unconfined
    unconfined = api.SecurityProfile(profile_type=api.SecurityProfile.Unconfined)
    container_id = secured(cri, seccomp=api.SecurityProfile(profile_type=kind), apparmor=unconfined)
    assert (cri.execute(container_id, "unshare", "-U", "true").exit_code != 0) == confined


@pytest.mark.second_opinion
@pytest.mark.skipif(
    not own_capabilities() >> CAP_SYS_RESOURCE & 1, reason="the machine may not lower scores of the OOM killer"
)
@pytest.mark.parametrize("score", [-997, -1])
def test_negative_oom_score(cri: CRI, score: int) -> None:
    """A container of a guaranteed pod has exactly the negative score that kubelet requests."""
    config = cri.container()
    config.linux.resources.oom_score_adj = score
    assert int(cri.output(run(cri, config), "cat", "/proc/1/oom_score_adj")) == score


@pytest.mark.second_opinion
@pytest.mark.parametrize(("first", "allowed"), [("0", True), ("1024", False)])
def test_unprivileged_ports(cri: CRI, first: str, allowed: bool) -> None:
    """The pod's sysctl decides whether a user without capabilities may bind port 80."""
    pod = cri.pod()
    pod.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = first
    config = cri.container()
    context = config.linux.security_context
    context.run_as_user.value = 1000
    context.capabilities.drop_capabilities.append("ALL")
    container_id = run(cri, config, pod)
    listening = cri.execute(container_id, "timeout", "2", "nc", "-l", "-p", "80")
    refused = b"ermission denied" in listening.stderr
    assert refused != allowed
