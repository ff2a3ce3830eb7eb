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

#: Prints a number each second, all of which must be in the log.
COUNTING = ("sh", "-c", "trap 'exit 0' TERM; n=0; while :; do echo line $n; n=$((n+1)); sleep 1 & wait $!; done")


def prop(node: Guest, name: str, unit: str = "criwist.service") -> str:
    """Return a property of a unit."""
    return node.run(f"systemctl show --value --property={name} {unit}").strip()


def lines(node: Guest, cri: CRI, container_id: str) -> list[int]:
    """Return the numbers in a counting container's log."""
    text = node.run(f"cat {cri.status(container_id).log_path}")
    return [int(number) for number in re.findall(r"^\S+ stdout F line (\d+)$", text, re.MULTILINE)]


def wait_for_more_lines(node: Guest, cri: CRI, container_id: str) -> None:
    """Wait until the log grows, and check that it has every line once."""
    before = len(lines(node, cri, container_id))
    seen = eventually(lambda: found if len(found := lines(node, cri, container_id)) > before + 1 else [], within=12)
    assert seen == list(range(len(seen)))


# -- the file


def test_verified(node: Guest) -> None:
    """systemd finds no fault in the unit file."""
    assert node.run("systemd-analyze verify /etc/systemd/system/criwist.service") == ""


def test_enabled_and_active(node: Guest) -> None:
    """The unit is enabled and active, and its main process may notify systemd."""
    assert prop(node, "UnitFileState") == "enabled"
    assert prop(node, "ActiveState") == "active"
    assert prop(node, "NotifyAccess") == "main"


def test_state_directory(node: Guest) -> None:
    """Only root can write to the state directory."""
    assert node.run("stat --format '%U %A' /var/lib/criwist").split()[0] == "root"
    assert node.run("find /var/lib/criwist -perm /022 -not -type l") == ""


def test_runtime_directory(node: Guest) -> None:
    """The directory for the cAdvisor socket exists while criwist runs, and only root can write to it."""
    assert node.run("stat --format '%U %a' /run/criwist").split() == ["root", "755"]


def test_mounts_are_the_nodes(node: Guest) -> None:
    """criwist has the node's mount namespace, so the engine sees its mounts."""
    pid = prop(node, "MainPID")
    assert node.run(f"readlink /proc/{pid}/ns/mnt") == node.run("readlink /proc/1/ns/mnt")


def test_oom_score(node: Guest) -> None:
    """criwist has the oom score of a process that the kernel kills last."""
    assert node.run(f"cat /proc/{prop(node, 'MainPID')}/oom_score_adj").strip() == "-999"


# -- readiness


def test_started_means_serving(node: Guest, cri: CRI) -> None:
    """criwist accepts connections and serves the CRI when systemctl returns from a start."""
    node.run("systemctl stop criwist.service")
    connecting = "import socket; socket.socket(socket.AF_UNIX).connect('/run/criwist.sock')"
    node.run(f'systemctl start criwist.service && python3 -S -c "{connecting}"')
    # The channel first notices that its own connection is broken.
    eventually(lambda: serves(cri), within=12)
    assert cri.runtime.Version(api.VersionRequest()).runtime_name == "docker"


def test_started_before_the_engine(node: Guest, connect: Callable[[], CRI]) -> None:
    """Without an engine the unit starts, serves and reports why it is not ready; it is ready when the engine starts."""
    node.run("systemctl stop criwist.service docker.socket docker.service")
    node.run("systemctl start criwist.service")
    assert prop(node, "ActiveState") == "active"
    assert prop(node, "ActiveState", "docker.service") == "inactive"
    cri = connect()
    ready = condition(cri, "RuntimeReady")
    assert not ready.status
    assert ready.reason
    assert ready.message
    node.run("systemctl start docker.socket docker.service")
    eventually(lambda: engine_ready(cri), within=12)
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"


# -- pods outlive criwist


def test_restarted_under_running_pods(node: Guest, cri: CRI) -> None:
    """A restart of criwist leaves pods and containers unchanged; their logs have every line once."""
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
    """systemd restarts a killed criwist, with unchanged pods; logs have every line once."""
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
    """A stopped criwist leaves running containers and no socket; later the log has their output of the meantime."""
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


# -- stops of the engine


def test_engine_restarted_under_it(node: Guest, cri: CRI) -> None:
    """criwist outlives a restart of docker.service; the pods have ended and are removable, and new ones run."""
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
    """criwist outlives an engine that is killed and restarted by systemd."""
    pid = prop(node, "MainPID")
    node.run("systemctl kill --kill-whom=main --signal=KILL docker.service")
    eventually(lambda: prop(node, "ActiveState", "docker.service") == "active", within=12)
    eventually(lambda: engine_ready(cri), within=12)
    assert prop(node, "MainPID") == pid
    _, container_id = cri.run_in_pod()
    assert cri.output(container_id, "echo", "here") == "here\n"


# -- reboot


def test_rebooted(node: Guest, connect: Callable[[], CRI]) -> None:
    """After a reboot criwist serves; earlier pods are not ready and are removable, with their addresses."""
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
