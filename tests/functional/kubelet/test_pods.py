"""Pods from their start to their end, as kubelet sees them."""

from __future__ import annotations

import pytest

from tests.harness.clock import eventually
from tests.harness.kubelet import (
    Kubelet,
    Object,
    container,
    manifest,
    phase,
    running,
    status,
    terminated,
    waiting,
    with_containers,
)

pytestmark = pytest.mark.second_opinion


def test_exit_code(kubelet: Kubelet) -> None:
    """A container that fails ends the pod, and its exit code is reported."""
    pod = kubelet.run_pod(manifest("sh", "-c", "exit 3", restart="Never"), until=phase("Failed"))
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (3, "Error")
    assert terminated(pod)["startedAt"] <= terminated(pod)["finishedAt"]


def test_success(kubelet: Kubelet) -> None:
    """A pod whose containers exit with 0 has succeeded, and they are not started again."""
    pod = kubelet.run_pod(manifest("true", restart="OnFailure"), until=phase("Succeeded"))
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (0, "Completed")
    assert status(pod)["restartCount"] == 0


def test_several_containers(kubelet: Kubelet) -> None:
    """Containers of a pod run side by side, with one network and separate processes; each ends for itself."""
    pod = kubelet.run_pod(
        with_containers(
            container("nc", "-ll", "-p", "8000", "-e", "echo", "hello", name="server"),
            container(name="other"),
            container("sh", "-c", "exit 4", name="short"),
            restart="Never",
        ),
        until=lambda pod: terminated(pod, "short") and "running" in status(pod, "server").get("state", {}),
    )
    name = pod["metadata"]["name"]
    assert pod["status"]["phase"] == "Running"
    assert terminated(pod, "short")["exitCode"] == 4
    command = ("sh", "-c", "nc 127.0.0.1 8000 </dev/null")
    eventually(lambda: kubelet.output(name, *command, container="other") == "hello\n")
    assert "nc -ll" not in kubelet.output(name, "ps", container="other")


def test_init_containers(kubelet: Kubelet) -> None:
    """Init containers run one after another, before all others, and their results are reported."""
    mounts: Object = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    pod = kubelet.run_pod(
        with_containers(
            container("sh", "-c", "echo main >>/shared/order; cat /shared/order; sleep 1000", **mounts),
            initContainers=[
                container("sh", "-c", "sleep 0.5; echo first >>/shared/order", name="first", **mounts),
                container("sh", "-c", "echo second >>/shared/order", name="second", **mounts),
            ],
            volumes=[{"name": "shared", "emptyDir": {}}],
        )
    )
    eventually(lambda: kubelet.logs(pod["metadata"]["name"]) == "first\nsecond\nmain\n")
    assert [terminated(pod, name)["exitCode"] for name in ("first", "second")] == [0, 0]


def test_failed_init_container(kubelet: Kubelet) -> None:
    """If an init container fails for good, nothing after it is started, and the pod has failed."""
    pod = kubelet.run_pod(
        with_containers(
            container(),
            restart="Never",
            initContainers=[container("sh", "-c", "exit 7", name="first"), container("true", name="second")],
        ),
        until=phase("Failed"),
    )
    assert terminated(pod, "first")["exitCode"] == 7
    assert waiting(pod, "second")["reason"] == waiting(pod)["reason"] == "PodInitializing"


def test_restart_always(kubelet: Kubelet) -> None:
    """A container that exits is started again: a new one, with its count, and the old one's end in lastState."""
    pod = kubelet.run_pod(
        manifest("sh", "-c", "test -e /v/again && sleep 1000; touch /v/again; exit 5", **_volume("v")),
        until=lambda pod: running(pod) and status(pod)["restartCount"] == 1,
    )
    last = status(pod)["lastState"]["terminated"]
    assert last["exitCode"] == 5
    assert last["containerID"] != status(pod)["containerID"]
    assert kubelet.logs(pod["metadata"]["name"], previous="true") == ""


def test_restart_on_failure(kubelet: Kubelet) -> None:
    """With OnFailure a container is started again until it exits with 0."""
    pod = kubelet.run_pod(
        manifest("sh", "-c", "test -e /v/again && exit; touch /v/again; exit 5", restart="OnFailure", **_volume("v")),
        until=phase("Succeeded"),
    )
    assert status(pod)["restartCount"] == 1
    assert status(pod)["state"]["terminated"]["exitCode"] == 0
    assert status(pod)["lastState"]["terminated"]["exitCode"] == 5


def _volume(name: str) -> Object:
    """Return arguments of ``manifest`` for an emptyDir at ``/<name>``."""
    return {
        "spec": {"volumes": [{"name": name, "emptyDir": {}}]},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"}],
    }


@pytest.mark.long
def test_crash_loop(kubelet: Kubelet) -> None:
    """A container that exits again and again waits longer and longer, in CrashLoopBackOff."""
    pod = kubelet.run_pod(
        manifest("false"), until=lambda pod: waiting(pod).get("reason") == "CrashLoopBackOff", within=90
    )
    name = pod["metadata"]["name"]
    assert status(pod)["restartCount"] >= 1
    assert any(reason == "BackOff" for reason, _ in kubelet.events(name))
    kubelet.wait_for(name, lambda pod: status(pod)["restartCount"] >= 3, within=120)


def test_termination_message(kubelet: Kubelet) -> None:
    """What a container has written to its termination message file is reported."""
    script = "printf 'the end: %s' $(id -u) >/tmp/message; exit 1"
    pod = kubelet.run_pod(
        manifest("sh", "-c", script, restart="Never", terminationMessagePath="/tmp/message"), until=phase("Failed")
    )
    assert terminated(pod)["message"] == "the end: 0"


def test_termination_message_from_the_log(kubelet: Kubelet) -> None:
    """Without a message the end of a failed container's log is reported, if the pod wants it so."""
    script = "echo one; echo two >&2; exit 1"
    pod = kubelet.run_pod(
        manifest("sh", "-c", script, restart="Never", terminationMessagePolicy="FallbackToLogsOnError"),
        until=phase("Failed"),
    )
    assert sorted(terminated(pod)["message"].splitlines()) == ["one", "two"]


def test_out_of_memory(kubelet: Kubelet) -> None:
    """A container that the kernel kills for its memory is reported as OOMKilled, and its neighbour runs on."""
    pod = kubelet.run_pod(
        with_containers(
            container("tail", "/dev/zero", name="greedy", resources={"limits": {"memory": "20Mi"}}),
            container(name="modest"),
            restart="Never",
        ),
        until=lambda pod: terminated(pod, "greedy") and status(pod, "modest").get("state", {}).get("running"),
    )
    assert (terminated(pod, "greedy")["exitCode"], terminated(pod, "greedy")["reason"]) == (137, "OOMKilled")


def test_unknown_program(kubelet: Kubelet) -> None:
    """A container whose program does not exist fails to start, and kubelet names it."""
    pod = kubelet.run_pod(manifest("/nonexistent", restart="Never"), until=phase("Failed"))
    assert terminated(pod)["exitCode"] in (127, 128)
    assert "/nonexistent" in terminated(pod)["message"]


# -- the end


def test_graceful_end(kubelet: Kubelet) -> None:
    """The containers of a removed pod get SIGTERM and the time that they need to end."""
    script = "trap 'sleep 1; echo ended; exit 0' TERM; echo started; while :; do sleep 0.1; done"
    pod = kubelet.run_pod(manifest("sh", "-c", script, spec={"terminationGracePeriodSeconds": 30}))
    name = pod["metadata"]["name"]
    eventually(lambda: kubelet.logs(name) == "started\n")
    container_id = kubelet.container_id(pod)
    kubelet.remove(name)
    ended = kubelet.cri.wait_for_exit(container_id, within=30)
    assert ended.exit_code == 0
    assert "ended" in _log_of(kubelet, container_id)


def test_forced_end(kubelet: Kubelet) -> None:
    """A container that ignores SIGTERM is killed at the end of the pod's grace period, and not before."""
    pod = kubelet.run_pod(manifest("sh", "-c", "trap '' TERM; echo started; while :; do sleep 0.1; done"))
    name = pod["metadata"]["name"]
    eventually(lambda: kubelet.logs(name) == "started\n")
    container_id = kubelet.container_id(pod)
    kubelet.remove(name)
    ended = kubelet.cri.wait_for_exit(container_id, within=30)
    assert ended.exit_code == 137
    assert ended.finished_at - ended.started_at >= 2_000_000_000


def _log_of(kubelet: Kubelet, container_id: str) -> str:
    with open(kubelet.cri.status(container_id).log_path) as log:
        return log.read()
