"""``etc/systemd/criwist.service`` on a node: started, stopped, killed, rebooted, with and without the engine."""

from __future__ import annotations

import re
from collections.abc import Callable

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.node.readiness import condition, engine_ready, serves
from tools.node.guest import Guest
from tools.node.install import NETWORK

#: Says a number each second, all of which must be in the log.
COUNTING = ("sh", "-c", "trap 'exit 0' TERM; n=0; while :; do echo line $n; n=$((n+1)); sleep 1 & wait $!; done")


def prop(node: Guest, name: str, unit: str = "criwist.service") -> str:
    """A property of a unit."""
    return node.run(f"systemctl show --value --property={name} {unit}").strip()


def lines(node: Guest, cri: CRI, container_id: str) -> list[int]:
    """The numbers in a counting container's log."""
    text = node.run(f"cat {cri.status(container_id).log_path}")
    return [int(number) for number in re.findall(r"^\S+ stdout F line (\d+)$", text, re.MULTILINE)]


def wait_for_more_lines(node: Guest, cri: CRI, container_id: str) -> None:
    """Wait until the log grows; it has every line once."""
    before = len(lines(node, cri, container_id))
    seen = eventually(lambda: found if len(found := lines(node, cri, container_id)) > before + 1 else [], within=12)
    assert seen == list(range(len(seen)))


# -- the file


def test_verified(node: Guest) -> None:
    """systemd has nothing to say about the unit file."""
    assert node.run("systemd-analyze verify /etc/systemd/system/criwist.service") == ""


def test_enabled_and_active(node: Guest) -> None:
    """The unit is enabled, active, and says so of itself."""
    assert prop(node, "UnitFileState") == "enabled"
    assert prop(node, "ActiveState") == "active"
    assert prop(node, "NotifyAccess") == "main"


def test_state_directory(node: Guest) -> None:
    """The state directory belongs to root, and nobody else writes to it."""
    assert node.run("stat --format '%U %A' /var/lib/criwist").split()[0] == "root"
    assert node.run("find /var/lib/criwist -perm /022 -not -type l") == ""


def test_mounts_are_the_nodes(node: Guest) -> None:
    """criwist has the node's mount namespace: what it mounts, the engine sees."""
    pid = prop(node, "MainPID")
    assert node.run(f"readlink /proc/{pid}/ns/mnt") == node.run("readlink /proc/1/ns/mnt")


def test_oom_score(node: Guest) -> None:
    """The kernel takes other processes first; containers do not inherit that."""
    assert node.run(f"cat /proc/{prop(node, 'MainPID')}/oom_score_adj").strip() == "-999"


# -- readiness


def test_started_means_served(node: Guest, cri: CRI) -> None:
    """When systemctl returns from a start, connections are accepted and the CRI is answered."""
    node.run("systemctl stop criwist.service")
    connecting = "import socket; socket.socket(socket.AF_UNIX).connect('/run/criwist.sock')"
    node.run(f'systemctl start criwist.service && python3 -S -c "{connecting}"')
    # The channel's own connection is found broken first.
    eventually(lambda: serves(cri), within=12)
    assert cri.runtime.Version(api.VersionRequest()).runtime_name == "docker"


def test_started_before_the_engine(node: Guest, connect: Callable[[], CRI]) -> None:
    """Without an engine the unit starts, serves, and says why it is not ready; with one it becomes ready by itself."""
    node.run("systemctl stop criwist.service docker.socket docker.service")
    node.run("systemctl start criwist.service")
    assert prop(node, "ActiveState") == "active"
    assert prop(node, "ActiveState", "docker.service") == "inactive"
    cri = connect()
    told = condition(cri, "RuntimeReady")
    assert not told.status
    assert told.reason
    assert told.message
    node.run("systemctl start docker.socket docker.service")
    eventually(lambda: engine_ready(cri), within=12)
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"


# -- pods outlive criwist


def test_restarted_under_running_pods(node: Guest, cri: CRI) -> None:
    """A restart changes nothing about pods and containers; their logs have every line once."""
    pod_id, container_id = cri.run_in_pod(*COUNTING)
    before, pid = cri.status(container_id), prop(node, "MainPID")
    node.run("systemctl restart criwist.service")
    assert prop(node, "MainPID") != pid
    eventually(lambda: serves(cri), within=12)
    after = cri.status(container_id)
    assert (after.state, after.started_at) == (api.CONTAINER_RUNNING, before.started_at)
    assert cri.pod_status(pod_id).state == api.SANDBOX_READY
    assert cri.output(container_id, "echo", "here") == "here\n"
    wait_for_more_lines(node, cri, container_id)


def test_killed(node: Guest, cri: CRI) -> None:
    """Killed, it is started again, with the pods as they were; logs have every line once."""
    pod_id, container_id = cri.run_in_pod(*COUNTING)
    before, restarts = cri.status(container_id), int(prop(node, "NRestarts"))
    node.run("systemctl kill --kill-whom=main --signal=KILL criwist.service")
    eventually(lambda: int(prop(node, "NRestarts")) == restarts + 1 and prop(node, "ActiveState") == "active")
    eventually(lambda: serves(cri), within=12)
    after = cri.status(container_id)
    assert (after.state, after.started_at) == (api.CONTAINER_RUNNING, before.started_at)
    assert cri.pod_status(pod_id).state == api.SANDBOX_READY
    wait_for_more_lines(node, cri, container_id)


def test_stopped(node: Guest, cri: CRI) -> None:
    """Stopped, it leaves the containers running and no socket; what they said meanwhile is in the log afterwards."""
    _, container_id = cri.run_in_pod(*COUNTING)
    node.run("systemctl stop criwist.service")
    assert prop(node, "Result") == "success"
    assert prop(node, "ActiveState") == "inactive"
    assert not node.succeeds("test -e /run/criwist.sock")
    assert node.run(f"docker inspect --format '{{{{.State.Running}}}}' {container_id}").strip() == "true"
    node.run("sleep 3 && systemctl start criwist.service")
    eventually(lambda: serves(cri), within=12)
    assert cri.status(container_id).state == api.CONTAINER_RUNNING
    wait_for_more_lines(node, cri, container_id)


# -- the engine's ends


def test_engine_restarted_under_it(node: Guest, cri: CRI) -> None:
    """criwist stays when docker.service is restarted; the pods ended with it, are removable, and new ones run."""
    pod_id, container_id = cri.run_in_pod()
    pid = prop(node, "MainPID")
    node.run("systemctl restart docker.service")
    eventually(lambda: engine_ready(cri), within=12)
    eventually(lambda: cri.pod_status(pod_id).state == api.SANDBOX_NOTREADY, within=12)
    assert cri.status(container_id).state == api.CONTAINER_EXITED
    assert prop(node, "MainPID") == pid
    cri.stop_pod(pod_id)
    cri.remove_pod(pod_id)
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"


def test_engine_killed_under_it(node: Guest, cri: CRI) -> None:
    """criwist stays when the engine is killed and started again by systemd."""
    pid = prop(node, "MainPID")
    node.run("systemctl kill --kill-whom=main --signal=KILL docker.service")
    eventually(lambda: prop(node, "ActiveState", "docker.service") == "active", within=12)
    eventually(lambda: engine_ready(cri), within=12)
    assert prop(node, "MainPID") == pid
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"


# -- reboot


def test_rebooted(node: Guest, connect: Callable[[], CRI]) -> None:
    """After a reboot criwist serves; the pods of before are not ready, and removable with what their network held."""
    cri = connect()
    eventually(lambda: engine_ready(cri), within=12)
    pod_id, container_id = cri.run_in_pod()
    host_pod = cri.host_network_pod()
    host_pod_id = cri.run_pod(host_pod)
    address = cri.pod_status(pod_id).network.ip
    node.reboot()
    cri = connect()
    eventually(lambda: engine_ready(cri), within=12)
    assert sorted(cri.pod_ids()) == sorted([pod_id, host_pod_id])
    for identifier in (pod_id, host_pod_id):
        assert cri.pod_status(identifier).state == api.SANDBOX_NOTREADY
    assert cri.status(container_id).state == api.CONTAINER_EXITED
    for identifier in (pod_id, host_pod_id):
        cri.stop_pod(identifier)
        cri.remove_pod(identifier)
    assert cri.pod_ids() == []
    assert cri.container_ids() == []
    assert not node.succeeds(f"test -e /var/lib/cni/networks/{NETWORK}/{address}")
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"
