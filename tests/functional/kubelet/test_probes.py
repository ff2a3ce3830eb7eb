"""Probes and lifecycle hooks: what kubelet runs in containers, or asks of them, and what it does then."""

from __future__ import annotations

import pytest

from tests.harness.clock import eventually
from tests.harness.kubelet import Kubelet, Object, manifest, ready, running, status

pytestmark = pytest.mark.second_opinion

_EVERY_SECOND = {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5}
#: A web server on port 8080, after it has made /www/ok.
_WEB = "mkdir -p /www; echo fine >/www/ok; exec httpd -f -p 8080 -h /www"


def _not_ready(pod: Object) -> bool:
    return running(pod) and not ready(pod)


def _restarted(pod: Object) -> bool:
    return bool(status(pod).get("restartCount", 0) >= 1)


def test_exec_readiness(kubelet: Kubelet) -> None:
    """A pod is ready while its command succeeds, and not ready when it fails."""
    probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, **_EVERY_SECOND}
    pod = kubelet.run_pod(manifest(readinessProbe=probe), until=_not_ready)
    name = pod["metadata"]["name"]
    kubelet.output(name, "touch", "/tmp/ok")
    kubelet.wait_for(name, ready)
    kubelet.output(name, "rm", "/tmp/ok")
    pod = kubelet.wait_for(name, _not_ready)
    assert status(pod)["restartCount"] == 0


def test_exec_liveness(kubelet: Kubelet) -> None:
    """A container whose command fails is killed and started again; the command's output is in the event."""
    script = "echo the reason; test -e /tmp/ok"
    probe = {"exec": {"command": ["sh", "-c", script]}, "initialDelaySeconds": 1, **_EVERY_SECOND}
    pod = kubelet.run_pod(manifest(livenessProbe=probe), until=_restarted)
    assert any(
        reason == "Unhealthy" and "the reason" in message for reason, message in kubelet.events(pod["metadata"]["name"])
    )


def test_exec_probe_that_hangs(kubelet: Kubelet) -> None:
    """A command that does not end within its time is a failed probe, and nothing of it is left in the container."""
    probe = {"exec": {"command": ["sleep", "4321"]}, "periodSeconds": 1, "failureThreshold": 100, "timeoutSeconds": 1}
    pod = kubelet.run_pod(manifest(readinessProbe=probe))
    name = pod["metadata"]["name"]
    eventually(lambda: len(_failures(kubelet, name)) >= 3, within=60, what="the probe fails")
    assert _not_ready(pod)
    # One may be running now.
    eventually(lambda: kubelet.output(name, "ps").count("sleep 4321") <= 1)


def _failures(kubelet: Kubelet, name: str) -> list[str]:
    """Return the messages of a pod's failed probes."""
    return [message for reason, message in kubelet.events(name) if reason == "Unhealthy"]


@pytest.mark.parametrize(
    "action",
    [{"httpGet": {"path": "/ok", "port": 8080}}, {"tcpSocket": {"port": 8080}}],
    ids=["http", "tcp"],
)
def test_network_readiness(kubelet: Kubelet, action: Object) -> None:
    """A pod is ready when kubelet can connect to its server at the pod's address."""
    script = f"while ! [ -e /tmp/go ]; do sleep 0.1; done; {_WEB}"
    pod = kubelet.run_pod(manifest("sh", "-c", script, readinessProbe={**action, **_EVERY_SECOND}), until=_not_ready)
    name = pod["metadata"]["name"]
    eventually(lambda: _failures(kubelet, name), within=60)
    kubelet.output(name, "touch", "/tmp/go")
    kubelet.wait_for(name, ready)


def test_http_liveness(kubelet: Kubelet) -> None:
    """A container whose server answers with an error is killed and started again."""
    probe = {"httpGet": {"path": "/ok", "port": 8080}, "initialDelaySeconds": 1, **_EVERY_SECOND}
    pod = kubelet.run_pod(manifest("sh", "-c", _WEB, livenessProbe={**probe, "failureThreshold": 5}), until=running)
    name = pod["metadata"]["name"]
    eventually(lambda: _removed(kubelet, name), within=30)
    kubelet.wait_for(name, _restarted)


def _removed(kubelet: Kubelet, name: str) -> bool:
    """Remove the page that the probe gets, as soon as it is there."""
    return kubelet.output(name, "sh", "-c", "rm /www/ok 2>/dev/null && echo removed || true") == "removed\n"


def test_startup_probe(kubelet: Kubelet) -> None:
    """Until the startup probe has succeeded, no other probe runs."""
    action = {"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1, "timeoutSeconds": 10}
    pod = kubelet.run_pod(
        manifest(
            startupProbe={**action, "failureThreshold": 600},
            livenessProbe={**action, "failureThreshold": 3},
        ),
    )
    name = pod["metadata"]["name"]
    eventually(lambda: len(_failures(kubelet, name)) >= 5, within=60)
    assert {message.partition(" probe")[0] for message in _failures(kubelet, name)} == {"Startup"}
    assert status(kubelet.wait_for(name, running))["started"] is False
    kubelet.output(name, "touch", "/tmp/started")
    pod = kubelet.wait_for(name, lambda pod: status(pod)["started"] and ready(pod))
    assert status(pod)["restartCount"] == 0


# -- lifecycle hooks


def test_post_start(kubelet: Kubelet) -> None:
    """The postStart hook has ended when the container is reported as running."""
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.5; echo done >/tmp/hook"]}}}
    pod = kubelet.run_pod(manifest(lifecycle=hook))
    assert kubelet.output(pod["metadata"]["name"], "cat", "/tmp/hook") == "done\n"


def test_post_start_that_fails(kubelet: Kubelet) -> None:
    """A container whose postStart hook fails is killed, and kubelet reports the hook's failure."""
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo the reason; exit 9"]}}}
    name = kubelet.apply(manifest(lifecycle=hook, restart="Never"))
    eventually(lambda: "FailedPostStartHook" in dict(kubelet.events(name)), within=60)
    kubelet.wait_for(name, lambda pod: "terminated" in status(pod).get("state", {}))


@pytest.mark.parametrize(
    "action",
    [{"exec": {"command": ["touch", "/v/hook"]}}, {"httpGet": {"path": "/hook", "port": 8080}}],
    ids=["exec", "http"],
)
def test_pre_stop(kubelet: Kubelet, action: Object, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The preStop hook runs before SIGTERM; the rest of the grace period is the container's."""
    directory = kubelet.root / tmp_path_factory.mktemp("pre-stop").name
    directory.mkdir()
    # Its server notes each request; on SIGTERM it writes down whether the hook had run.
    script = """
        trap 'test -e /v/hook && echo after >/v/term || echo before >/v/term; exit 0' TERM
        nc -ll -p 8080 -e sh -c 'touch /v/hook; printf "HTTP/1.0 200 OK\\r\\n\\r\\n"' &
        touch /v/started; while :; do sleep 0.1; done"""
    pod = kubelet.run_pod(
        manifest(
            "sh",
            "-c",
            script,
            lifecycle={"preStop": action},
            volumeMounts=[{"name": "v", "mountPath": "/v"}],
            spec={
                "volumes": [{"name": "v", "hostPath": {"path": str(directory)}}],
                "terminationGracePeriodSeconds": 30,
            },
        )
    )
    eventually((directory / "started").exists)
    kubelet.remove(pod["metadata"]["name"])
    eventually((directory / "term").exists, within=30)
    assert (directory / "term").read_text() == "after\n"
