"""The active configuration, the output of plugins, and plugins that misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.netconf.cache import read_cached
from tests.functional.pod_networks import (
    mapping,
    network_ready,
    nothing_left,
)
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.cni import (
    NAME,
    PLUGINS,
    PodNetwork,
    strays,
)
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('echo "no address left" >&2; exit 1', "no address left (exit status 1)"),
        ("exit 1", "exit status 1, and it printed nothing"),
        ("echo not json", "it printed no result: not a JSON object: not json"),
        ("head -c 1048576 /dev/zero | tr '\\\\0' x", "it printed more than 256 KiB and was killed"),
        (
            'echo \'{"cniVersion":"1.0.0","code":11,"msg":"try again later","details":"busy"}\'; exit 1',
            "try again later",
        ),
        ("kill -SEGV $$", "signal 11, and it printed nothing"),
        ("handed_on | tr -d /", "it printed no result: ips[0].address"),
    ],
    ids=["stderr", "silent", "garbage", "a-mebibyte", "error", "signal", "bad-result"],
)
def test_plugin_that_fails(
    network: PodNetwork,
    daemon: Daemon,
    client_of: Callable[[Daemon], CRI],
    engine: Engine,
    text: str,
    expected: str,
) -> None:
    """Each failure of a plugin in ADD is an error with plugin, command and cause; nothing is left."""
    plugin = network.script("broken", f'[ "$CNI_COMMAND" = DEL ] && exit 0\n{text}')
    network.configure([*network.plugins(), plugin])
    daemon.start()
    client = client_of(daemon)
    before = engine.container_names()
    error = refused(lambda: client.run_pod(client.pod(port_mappings=mapping(23150))))
    assert "CNI plugin broken, ADD on network crwn: " in error
    assert expected in error
    assert network.left(daemon.state) == {}
    assert engine.container_names() == before
    assert client.pod_ids() == []


def test_plugin_that_hangs(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI], engine: Engine
) -> None:
    """When a caller cancels while a plugin hangs, the plugin is killed, nothing is left, and other pods go on."""
    hanging = network.script(
        "hanging",
        'if [ "$CNI_COMMAND" = ADD ]; then\n'
        'case "$CNI_ARGS" in *K8S_POD_NAME=hanging*) touch $HERE/asleep; sleep 300;; esac\nhanded_on\nfi',
    )
    network.configure([*network.plugins(), hanging])
    daemon.start()
    client = client_of(daemon)
    before = engine.container_names()
    call = client.runtime.RunPodSandbox.future(
        api.RunPodSandboxRequest(config=client.pod("hanging")), timeout=scaled(5)
    )
    eventually((network.root / "asleep").exists)
    started = time.monotonic()
    other = client.run_pod()
    assert time.monotonic() - started < scaled(4)
    client.remove_pod(other)
    assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    nothing_left(network, daemon.state)
    eventually(lambda: engine.container_names() == before)
    assert not strays(f"{network.bin_dir}/hanging")


def test_status_waits_for_the_first_poll(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]
) -> None:
    """Right after the start Status waits for a slow plugin's versions, and does not report an unready network.

    Other RPCs are answered meanwhile, and a stop does not wait.
    """
    slow = network.script("slow", "handed_on", first="while ! [ -e $HERE/go ]; do sleep 0.05; done")
    network.configure([*network.plugins(), slow])
    daemon.start()
    client = client_of(daemon)
    asked = [client.runtime.Status.future(api.StatusRequest()) for _ in range(8)]
    client.pod_ids()
    client.runtime.Version(api.VersionRequest())
    assert not any(one.done() for one in asked)
    (network.root / "go").touch()
    for one in asked:
        assert all(condition.status for condition in one.result(timeout=scaled(10)).status.conditions)
    (network.root / "go").unlink()
    daemon.stop()
    daemon.start()
    last = client_of(daemon).runtime.Status.future(api.StatusRequest())
    client.pod_ids()
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < scaled(4)
    assert last.exception() is not None


def test_readiness_follows_the_directory(
    network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]
) -> None:
    """NetworkReady follows configuration and plugins without a restart, with messages to act on."""
    daemon.start()
    client = client_of(daemon)
    condition = network_ready(client)
    assert (condition.status, condition.reason) == (False, "NetworkPluginNotReady")
    assert f"no network configuration in {network.conf_dir}" in condition.message
    assert "no network configuration in" in refused(client.run_pod, grpc.StatusCode.UNAVAILABLE)
    client.run_pod(client.host_network_pod())  # needs no configuration
    network.configure([*network.plugins(), {"type": "late"}])
    eventually(lambda: "CNI plugin late of network crwn" in network_ready(client).message)
    assert f"not found in {network.bin_dir}, /usr/lib/cni" in network_ready(client).message
    network.script("late", '[ "$CNI_COMMAND" = ADD ] && handed_on; exit 0')
    eventually(lambda: network_ready(client).status)
    client.run_pod()
    network.unconfigure()
    eventually(lambda: not network_ready(client).status)


def test_first_valid_file(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """The first valid file in name order is used, whatever its suffix; the log has those that are skipped.

    The directory itself may be created after criwist's start.
    """
    network.conf_dir.rmdir()
    daemon.start()
    client = client_of(daemon)
    assert "no network configuration in" in network_ready(client).message
    network.conf_dir.mkdir()
    network.configure()
    (network.conf_dir / "00-none.txt").write_text("ignored")
    (network.conf_dir / "01-broken.conflist").write_text('{"name": ')
    (network.conf_dir / "02-empty.conf").write_text("")
    (network.conf_dir / "03-future.conflist").write_text(
        '{"name": "x", "cniVersion": "9.9.9", "plugins": [{"type": "y"}]}'
    )
    os.mkfifo(network.conf_dir / "04-pipe.conf")
    (network.conf_dir / "05-gone.json").symlink_to("/nowhere")
    single = network.plugins()[0] | {"name": "single", "cniVersion": "0.4.0"}
    (network.conf_dir / "06-single.json").write_text(json.dumps(single))
    eventually(lambda: network_ready(client).status)
    pod_id = client.run_pod()
    assert client.pod_status(pod_id).network.ip.startswith("10.96.")
    assert (network.cache / "results" / f"single-{pod_id}-eth0").exists()
    for name in ("01-broken.conflist", "02-empty.conf", "03-future.conflist", "04-pipe.conf", "05-gone.json"):
        eventually(lambda name=name: f"{name} is skipped" in daemon.log_text())  # type: ignore[misc]
    (network.conf_dir / "06-single.json").unlink()
    other = client.run_pod()
    assert (network.cache / "results" / f"{NAME}-{other}-eth0").exists()


def test_every_version(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Debian's plugins assign and release addresses under every version that they support."""
    network.configure()
    daemon.start()
    client = client_of(daemon)
    since = {"bridge": "0.1.0", "portmap": "0.3.0", "bandwidth": "0.3.0", "firewall": "0.4.0"}
    for version in ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"):
        plugins = [one for one in network.plugins() if since[one["type"]] <= version]
        network.configure(plugins, version=version)
        pod_id = client.run_pod(client.pod(port_mappings=mapping(23163) if len(plugins) > 1 else ()))
        cached = read_cached((network.cache / "results" / f"{NAME}-{pod_id}-eth0").read_bytes())
        assert cached.result is not None
        assert cached.result["cniVersion"] == version
        assert client.pod_status(pod_id).network.ip.startswith("10.96."), version
        client.remove_pod(pod_id)
        assert network.left(daemon.state) == {}, version


def test_alternative_versions(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """A list that offers 1.1.0 and others runs as the newest that all plugins support; without one it is not ready."""
    network.configure(version="1.1.0")
    daemon.start()
    client = client_of(daemon)
    condition = network_ready(client)
    supported = subprocess.run(
        [f"{PLUGINS}/bridge"], input="{}", env={"CNI_COMMAND": "VERSION"}, capture_output=True, text=True, check=True
    ).stdout
    if "1.1.0" not in supported:
        assert not condition.status
        assert "is of CNI version 1.1.0, which not all its plugins support (bridge: 0.1.0" in condition.message
    path = network.conf_dir / "10-crwn.conflist"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cniVersions": ["0.4.0", "1.0.0", "2.0.0"]}))
    eventually(lambda: network_ready(client).status)
    pod_id = client.run_pod()
    cached = read_cached((network.cache / "results" / f"{NAME}-{pod_id}-eth0").read_bytes())
    assert cached.result is not None
    assert cached.result["cniVersion"] == ("1.1.0" if "1.1.0" in supported else "1.0.0")


def test_check(node: CRI, network: PodNetwork, daemon: Daemon) -> None:
    """At its start criwist runs CHECK for all pods; a failure is in the log and in the verbose status."""
    whole, broken = node.run_pod(), node.run_pod()
    namespace = f"criwist-{broken}"
    subprocess.run(["ip", "netns", "exec", namespace, "ip", "route", "del", "default"], check=True)
    daemon.stop()
    daemon.start()

    def failed() -> dict[str, str]:
        info = json.loads(node.runtime.Status(api.StatusRequest(verbose=True)).info["network"])
        checks: dict[str, str] = info["failed_checks"]
        return checks

    eventually(lambda: broken in failed())
    assert list(failed()) == [broken]
    assert "CNI plugin bridge, CHECK on network crwn" in failed()[broken]
    assert f"the network of sandbox {broken} is not as ADD left it" in daemon.log_text()
    assert node.pod_status(whole).state == node.pod_status(broken).state == api.SANDBOX_READY


def test_standard_error_is_logged(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """A plugin's standard error is in the log with plugin, command and sandbox, even if it succeeds."""
    talkative = network.script(
        "talkative", 'echo "$CNI_COMMAND at work" >&2; [ "$CNI_COMMAND" = ADD ] && handed_on; exit 0'
    )
    network.configure([*network.plugins(), talkative])
    daemon.start()
    client = client_of(daemon)
    pod_id = client.run_pod()
    client.stop_pod(pod_id)
    for command in ("ADD", "DEL"):
        line = f"CNI plugin talkative, {command} for sandbox {pod_id}: {command} at work"
        eventually(lambda line=line: line in daemon.log_text())  # type: ignore[misc]


def test_status_right_after_a_start(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Right after its start criwist does not report a good network as unready: kubelet would act on it."""
    slow = network.script("slow", "handed_on", first='[ "$CNI_COMMAND" = VERSION ] && sleep 3')
    network.configure([*network.plugins(), slow])
    daemon.start()
    assert network_ready(client_of(daemon)).status


def test_status_and_collection(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> None:
    """Plugins of 1.1.0 report by STATUS that they cannot serve, and get the valid attachments by GC at start."""
    plugin = network.script(
        "modern",
        """
case "$CNI_COMMAND" in
  ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.96.7.7/16"}]}';;
  STATUS) [ -e $HERE/down ] && { echo '{"code":50,"msg":"the controller is away"}'; exit 1; };;
  GC) echo "$CONFIG" > $HERE/new-gc && mv $HERE/new-gc $HERE/gc;;
esac
exit 0""",
    )
    network.configure([plugin], version="1.1.0")
    daemon.start()
    client = client_of(daemon)
    assert network_ready(client).status
    pod_id = client.run_pod()
    assert client.pod_status(pod_id).network.ip == "10.96.7.7"
    (network.root / "down").touch()
    eventually(lambda: "the controller is away (code 50)" in network_ready(client).message, within=20)
    (network.root / "down").unlink()
    eventually(lambda: network_ready(client).status, within=20)
    assert json.loads((network.root / "gc").read_text())["cni.dev/valid-attachments"] == []
    daemon.stop()
    daemon.start()
    eventually(lambda: pod_id in (network.root / "gc").read_text())
    configuration = json.loads((network.root / "gc").read_text())
    assert configuration["cni.dev/valid-attachments"] == [{"containerID": pod_id, "ifname": "eth0"}]


def test_cache_and_verbose_status(node: CRI, network: PodNetwork) -> None:
    """The cache file has libcni's format, and the verbose status shows configuration and plugins."""
    pod_id = node.run_pod(node.pod("web", port_mappings=mapping(23160)))
    cached = read_cached((network.cache / "results" / f"crwn-{pod_id}-eth0").read_bytes())
    assert ("K8S_POD_NAME", "web") in cached.attachment.arguments
    assert cached.attachment.capability_arguments["portMappings"][0]["hostPort"] == 23160
    assert cached.result is not None
    assert cached.result["ips"][0]["address"].startswith(node.pod_status(pod_id).network.ip)
    info = node.runtime.Status(api.StatusRequest(verbose=True)).info
    assert "10-crwn.conflist" in json.dumps(dict(info))
