"""criwist's own metrics, on a real engine: every one is seen with the value that an operator expects."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.certificates import Authority
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually, scaled
from tests.harness.cni import PodNetwork
from tests.harness.crilogs import flood, log_path, shell
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.metrics import Metrics
from tests.harness.prometheus import Prometheus
from tests.harness.slow_registry import SlowRegistry
from tests.harness.spdy_client import Client

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]

ROOT = Path(__file__).resolve().parents[2]
#: Names in the tables of docs/observability.md.
DOCUMENTED = set(re.findall(r"^\| `(criwist_\w+)` \|", (ROOT / "docs/observability.md").read_text(), re.MULTILINE))


@pytest.fixture
def daemon(network: PodNetwork, criwist_daemon: MakeDaemon, tmp_path: Path, engine: Engine) -> Daemon:
    """A criwist with metrics, CNI, and Docker's logs in one small file; its engine is away when it starts."""
    network.configure()
    return criwist_daemon(
        **network.options,
        metrics_bind_addr="127.0.0.1:0",
        container_log_driver="json-file",
        container_log_max_size="20m",
        container_log_max_files="1",
    )


@pytest.fixture
def node(daemon: Daemon, client_of: ClientOf) -> CRI:
    """That criwist, started."""
    daemon.start()
    return client_of(daemon)


@pytest.fixture
def metrics(node: CRI, daemon: Daemon) -> Metrics:
    """Its metrics."""
    return Metrics(daemon)


def test_calls(node: CRI, metrics: Metrics) -> None:
    """RPCs are counted by method and gRPC's status, requests to the engine by path, plugins by command."""
    pod_id, container_id = node.run_in_pod()
    node.pod_ids()
    refused(lambda: node.status("0" * 64), grpc.StatusCode.NOT_FOUND)
    refused(lambda: node.run_pod(api.PodSandboxConfig()), grpc.StatusCode.INVALID_ARGUMENT)
    assert metrics.value("cri_calls_total", method="RunPodSandbox", code="OK") == 1
    assert metrics.value("cri_calls_total", method="RunPodSandbox", code="INVALID_ARGUMENT") == 1
    assert metrics.value("cri_calls_total", method="ContainerStatus", code="NOT_FOUND") == 1
    assert metrics.value("cri_calls_total", method="ListPodSandbox", code="OK") >= 1
    took = metrics.value("cri_call_seconds_sum", method="RunPodSandbox")
    assert 0.02 < took < scaled(30)
    assert metrics.value("cri_call_seconds_count", method="RunPodSandbox") == 2
    assert metrics.value("docker_calls_total", call="POST /containers/{id}/start", code="OK") == 2
    assert metrics.value("docker_calls_total", call="GET /containers/{id}/json", code="OK") >= 2
    for command in ("ADD", "VERSION"):
        assert metrics.value("cni_calls_total", plugin="bridge", command=command, code="OK") >= 1
    node.stop(container_id, timeout=0)
    node.stop_pod(pod_id)
    assert metrics.value("cni_calls_total", plugin="bridge", command="DEL", code="OK") == 1
    assert metrics.value("cni_call_seconds_count", plugin="portmap") >= 2
    names = {sample.labels.get("call", "") for sample in metrics.samples()}
    assert not [name for name in names if re.search("[0-9a-f]{12}", name)]


def test_failures(node: CRI, metrics: Metrics, network: PodNetwork) -> None:
    """A plugin that fails, an engine's refusal, and a call that its client cancels have codes of their own."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    network.configure([network.script("broken", "exit 3")])
    eventually(lambda: refused(lambda: node.run_pod(), grpc.StatusCode.INTERNAL))
    assert metrics.value("cni_calls_total", plugin="broken", command="ADD", code="PluginFailure") >= 1
    assert metrics.value("cri_calls_total", method="RunPodSandbox", code="INTERNAL") >= 1
    network.configure()
    refused(lambda: node.create(pod_id, node.container(image="nowhere/none:1"), pod), grpc.StatusCode.NOT_FOUND)
    assert metrics.value("docker_calls_total", call="POST /containers/create", code="NotFound") >= 1
    container_id = node.run_trapping("trap 'touch /tmp/asked' TERM")
    call = node.runtime.StopContainer.future(api.StopContainerRequest(container_id=container_id, timeout=30))
    eventually(lambda: node.shell(container_id, "ls /tmp/asked || true"))
    call.cancel()
    eventually(lambda: metrics.value("cri_calls_total", method="StopContainer", code="CANCELLED") == 1)


def test_state(node: CRI, metrics: Metrics, daemon: Daemon) -> None:
    """Sandboxes, containers and followed logs are counted by state; the reactor and the events are on time."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    running = node.run(pod_id, node.container(), pod)
    created = node.create(pod_id, node.container(), pod)
    ended = node.run(pod_id, node.container("true"), pod)
    node.wait_for_exit(ended)
    node.run_pod()
    assert len({running, created, ended}) == 3
    assert metrics.value("sandboxes", state="ready") == 2
    assert metrics.value("sandboxes", state="notready") == 0
    assert [metrics.value("containers", state=one) for one in ("created", "running", "exited", "unknown")] == [
        *(1, 1, 1, 0)
    ]
    assert metrics.value("log_followers", source="file") >= 2
    assert metrics.value("docker_connected") == 1
    assert metrics.value("docker_disconnects_total") == 0
    events = metrics.value("docker_event_lag_seconds_count")
    assert events >= 5
    assert metrics.value("docker_event_lag_seconds_sum") / events < scaled(1)
    eventually(lambda: metrics.value("reactor_latency_seconds_count") >= 3, within=10)
    node.stop_pod(pod_id)
    assert metrics.value("sandboxes", state="notready") == 1


def test_pull(node: CRI, metrics: Metrics, slow_registry: SlowRegistry, engine: Engine) -> None:
    """A pull under way shows its bytes under the image's name, and is a count once it has ended."""
    slow_registry.stall_at = slow_registry.large // 2
    slow_registry.pause = 0.02  # Docker reports a layer every tenth of a second at most
    name = f"{slow_registry.host}/{uuid.uuid4().hex}:1"
    pulling = threading.Thread(target=node.pull, args=(name,))
    pulling.start()
    eventually(lambda: metrics.value("image_pull_downloaded_bytes", image=name) > slow_registry.large // 4, within=20)
    assert metrics.value("image_pulls_in_progress") == 1
    announced = metrics.value("image_pull_announced_bytes", image=name)
    assert slow_registry.large * 0.9 < announced < slow_registry.large * 1.2
    slow_registry.go_on()
    pulling.join()
    assert metrics.value("image_pulls_in_progress") == 0
    assert name not in {sample.labels.get("image") for sample in metrics.samples()}
    assert metrics.value("image_pulls_total", code="OK") == 1
    assert metrics.value("image_pull_bytes_total") == pytest.approx(announced, rel=0.1)
    assert metrics.value("image_pull_seconds_count") == 1
    node.remove_image(name)


def test_streams(node: CRI, metrics: Metrics) -> None:
    """Open sessions are counted by kind until they end."""
    pod_id, container_id = node.run_in_pod()
    request = api.ExecRequest(container_id=container_id, cmd=["cat"], stdin=True, stdout=True)
    clients = [Client(node.runtime.Exec(request).url) for _ in range(2)]
    forward = api.PortForwardRequest(pod_sandbox_id=pod_id, port=[80])
    clients.append(Client(node.runtime.PortForward(forward).url, "portforward.k8s.io"))
    assert [metrics.value("streams", kind=one) for one in ("exec", "attach", "port_forward")] == [2, 0, 1]
    for client in clients:
        client.close()
    eventually(lambda: metrics.value("streams") == 0)


def test_logs(node: CRI, metrics: Metrics, daemon: Daemon) -> None:
    """The unread bytes of Docker's files show while criwist is behind; lines that Docker has discarded are a loss."""
    _, container_id = node.run_in_pod("sh", "-c", f"echo 0 x; sleep 1; {shell(flood(60_000))}; sleep 1000")
    path = log_path(node, container_id)
    eventually(lambda: path.read_bytes().endswith(b"0 x\n"))
    assert metrics.value("log_lag_bytes") == 0
    daemon.program.signal(signal.SIGSTOP)
    found: list[tuple[float, float]] = []

    def scrape() -> None:
        lag = {sample.name: sample.value for sample in metrics.samples() if "log_lag" in sample.name}
        found.append((lag["criwist_log_lag_bytes"], lag["criwist_log_lag_most_bytes"]))

    scraping = threading.Thread(target=scrape)
    scraping.start()
    time.sleep(scaled(4))
    daemon.program.signal(signal.SIGCONT)
    scraping.join()
    ((lag, most),) = found
    assert lag == most > 1 << 20
    eventually(lambda: metrics.value("log_lag_bytes") == 0, within=30)
    assert metrics.value("log_losses_total") == 0


def test_log_loss(criwist_daemon: MakeDaemon, client_of: ClientOf) -> None:
    """A log that Docker empties before criwist has read it is counted as a loss."""
    daemon = criwist_daemon(
        metrics_bind_addr="127.0.0.1:0",
        container_log_driver="json-file",
        container_log_max_size="1m",
        container_log_max_files="1",
    )
    daemon.start()
    node, metrics = client_of(daemon), Metrics(daemon)
    _, container_id = node.run_in_pod("sh", "-c", f"echo 0 x; sleep 1; {shell(flood(60_000))}; sleep 1000")
    path = log_path(node, container_id)
    eventually(lambda: path.read_bytes().endswith(b"0 x\n"))
    daemon.program.signal(signal.SIGSTOP)
    time.sleep(scaled(4))
    daemon.program.signal(signal.SIGCONT)
    eventually(lambda: metrics.value("log_losses_total") >= 1, within=20)


def test_oom_kills(node: CRI, metrics: Metrics) -> None:
    """A kill for want of memory is counted for the container, over its attempts, until the last of them is removed."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    labels = {"namespace": "criwist-tests", "pod": pod.metadata.name, "container": "hungry"}
    attempts = []
    for attempt in range(2):
        config = node.container("sh", "-c", "sleep 0.3; tail /dev/zero", name="hungry")
        config.metadata.attempt = attempt
        config.linux.resources.memory_limit_in_bytes = 16 << 20
        attempts.append(node.run(pod_id, config, pod))
        node.wait_for_exit(attempts[-1], within=30)
    eventually(lambda: metrics.value("container_oom_kills_total", **labels) == 2)
    node.remove(attempts[0])
    assert metrics.value("container_oom_kills_total", **labels) == 2
    node.remove(attempts[1])
    assert "hungry" not in {sample.labels.get("container") for sample in metrics.samples()}


def test_oom_kill_in_the_kernels_log(node: CRI, metrics: Metrics, daemon: Daemon) -> None:
    """The kernel's log has the kill of a container's first process, its reason and its count; another kill has none."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    hungry = node.container("sh", "-c", "exec tail /dev/zero", name="hungry")
    hungry.linux.resources.memory_limit_in_bytes = 16 << 20
    killed = node.run(pod_id, hungry, pod)
    node.wait_for_exit(killed, within=30)
    stopped = node.run(pod_id, node.container("sleep", "1000", name="stopped"), pod)
    node.stop(stopped, timeout=0)
    assert (node.status(killed).exit_code, node.status(killed).reason) == (137, "OOMKilled")
    assert (node.status(stopped).exit_code, node.status(stopped).reason) == (137, "Error")
    with suppress(PermissionError, FileNotFoundError):
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        assert killed in kernel_log(log), "the kernel names the container"
    assert metrics.value("container_oom_kills_total", container="hungry") == 1
    daemon.stop()
    daemon.start()
    assert node.status(killed).reason == "OOMKilled"


def kernel_log(descriptor: int) -> str:
    """Return the kernel's log of kills, and close it."""
    found = []
    with os.fdopen(descriptor, "rb", buffering=0) as log, suppress(BlockingIOError):
        while True:
            with suppress(BrokenPipeError):  # overwritten before it was read
                found.append(os.read(log.fileno(), 16384))
    return b"".join(record for record in found if b"oom-kill:" in record).decode()


def test_engine_away(criwist_daemon: MakeDaemon, engine: Engine, tmp_path: Path) -> None:
    """While the engine is away criwist is healthy and not ready, and says why; then it is ready."""
    path = tmp_path / "docker.sock"
    daemon = criwist_daemon(docker_endpoint=f"unix://{path}", metrics_bind_addr="127.0.0.1:0")
    daemon.program.command = daemon.command()
    daemon.program.start(daemon.socket.exists)
    metrics = Metrics(daemon)
    eventually(lambda: metrics.value("docker_disconnects_total") >= 2)
    assert metrics.value("docker_connected") == 0
    assert metrics.get("/healthz")[::2] == (200, "ok\n")
    status, kind, text = metrics.get("/readyz")
    assert (status, kind) == (503, "text/plain; charset=utf-8")
    assert text.startswith("RuntimeReady: DockerIsAway: Docker is away")
    path.symlink_to(engine.endpoint.removeprefix("unix://"))
    eventually(lambda: metrics.get("/readyz")[::2] == (200, "ok\n"), within=20)
    assert metrics.value("docker_connected") == 1
    assert metrics.value("build_info", engine=engine.get("/version")["Version"]) == 1


def test_every_metric_has_a_value(
    node: CRI, metrics: Metrics, daemon: Daemon, slow_registry: SlowRegistry, tmp_path: Path
) -> None:
    """Each metric of the documentation has had a value after a busy minute, and there is no metric without a row."""
    seen: set[str] = set()
    pod = node.pod()
    pod_id = node.run_pod(pod)
    container_id = node.run(pod_id, node.container("sh", "-c", f"{shell(flood(400_000))}; sleep 1000"), pod)
    client = Client(node.runtime.Exec(api.ExecRequest(container_id=container_id, cmd=["cat"], stdin=True)).url)
    slow_registry.stall_at = slow_registry.large // 2
    pulling = threading.Thread(
        target=node.pull, args=(f"{slow_registry.host}/{uuid.uuid4().hex}:1",), kwargs={"timeout": 120}
    )
    pulling.start()
    hungry = node.container("sh", "-c", "tail /dev/zero")
    hungry.linux.resources.memory_limit_in_bytes = 16 << 20
    node.wait_for_exit(node.run(pod_id, hungry, pod), within=30)
    daemon.program.signal(signal.SIGSTOP)
    scraping = threading.Thread(target=lambda: seen.update(metrics.with_value()))
    scraping.start()
    time.sleep(scaled(4))
    daemon.program.signal(signal.SIGCONT)
    scraping.join()
    eventually(lambda: "criwist_image_pull_downloaded_bytes" in metrics.with_value(), within=20)
    seen |= metrics.with_value()
    slow_registry.go_on()
    pulling.join()
    client.close()
    seen |= metrics.with_value()
    # Each of these has a test of its own above: an engine that is away, and a log that is lost.
    assert DOCUMENTED - seen <= {"criwist_docker_disconnects_total", "criwist_log_losses_total"}
    assert set(re.findall(r"^# TYPE (criwist_\w+) ", metrics.get("/metrics")[2], re.MULTILINE)) == DOCUMENTED


def test_formats(metrics: Metrics) -> None:
    """A client gets Prometheus' text or OpenMetrics, as it accepts; other paths and methods are refused."""
    status, kind, _ = metrics.get("/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    status, kind, text = metrics.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)
    assert len(families) == len(set(families)) > 20  # a counter's family has no _total there
    assert metrics.get("/metrics", method="HEAD")[::2] == (200, "")
    assert metrics.get("/metrics", method="POST")[0] == 405
    assert metrics.get("/metrics/more")[0] == 404
    assert metrics.get("/metric")[0] == 404


def traced(node: CRI, header: str) -> None:
    """Ask for the version as the client of a trace: with this traceparent."""
    response = node.runtime.Version(api.VersionRequest(), metadata=[("traceparent", header)])
    assert response.runtime_name == "docker"


def test_exemplars(node: CRI, metrics: Metrics) -> None:
    """A call's recorded trace is an exemplar of its duration, in OpenMetrics only; other headers change nothing."""
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[:16]

    def exemplars() -> set[tuple[str, str]]:
        """Return methods and traces."""
        _, _, text = metrics.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
        families = openmetrics_families(text)  # type: ignore[no-untyped-call]
        samples = [sample for family in families for sample in family.samples if sample.exemplar]
        assert {sample.name for sample in samples} <= {"criwist_cri_call_seconds_bucket"}
        return {(sample.labels["method"], sample.exemplar.labels["trace_id"]) for sample in samples if sample.exemplar}

    good = f"00-{trace}-{span}-01"
    malformed = ("", "x", "-" * 55, good.upper(), good[:-1], good + "-", f"ff{good[2:]}", "0" * 4000)
    for header in (*malformed, f"{good[:-1]}0"):  # the last one is well-formed, and not sampled
        traced(node, header)
    traced(node, f"00-{'0' * 32}-{span}-01")
    traced(node, f"00-{trace}-{'0' * 16}-01")
    node.runtime.Version(api.VersionRequest(), metadata=[("traceparent-bin", b"\x00\xff"), ("tracestate", good)])
    assert exemplars() == set()
    traced(node, good)
    request = api.RunPodSandboxRequest(config=node.pod())
    pod_id = node.runtime.RunPodSandbox(request, metadata=[("traceparent", good)]).pod_sandbox_id
    with pytest.raises(grpc.RpcError):
        node.runtime.ContainerStatus(
            api.ContainerStatusRequest(container_id="0" * 64), metadata=[("traceparent", good), ("tracestate", "a=b")]
        )
    assert exemplars() == {(method, trace) for method in ("Version", "RunPodSandbox", "ContainerStatus")}
    assert trace not in metrics.get("/metrics")[2]
    assert node.pod_ids() == [pod_id]


def test_many_clients(metrics: Metrics, node: CRI) -> None:
    """Scrapes side by side are all answered, and calls of the CRI go on meanwhile."""
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(metrics.get("/metrics")[0])) for _ in range(40)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    node.pod_ids()
    assert time.monotonic() - began < scaled(2)
    for thread in threads:
        thread.join()
    assert answers == [200] * 40


def test_tls(criwist_daemon: MakeDaemon, tmp_path: Path) -> None:
    """With TLS the address may be any; with a CA for clients, one without a certificate is refused."""
    authority = Authority(tmp_path)
    files, client = authority.issue("node", "127.0.0.1"), authority.issue("prometheus")
    daemon = criwist_daemon(
        metrics_bind_addr="0.0.0.0:0",
        metrics_tls_cert=files.certificate,
        metrics_tls_key=files.key,
        metrics_tls_ca=str(authority.path),
    )
    daemon.start()
    context = ssl.create_default_context(cafile=files.ca)
    with pytest.raises(OSError, match=r"(?i)certificate.required|reset|EOF"):
        Metrics(daemon, context).get("/metrics")
    context.load_cert_chain(client.certificate, client.key)
    assert Metrics(daemon, context).value("build_info") == 1


def test_off_by_default(criwist: Daemon) -> None:
    """Without the option nothing listens."""
    assert "metrics are served" not in criwist.log_text()


def test_address_in_use(criwist_daemon: MakeDaemon, metrics: Metrics) -> None:
    """A second criwist on the same address ends with a sentence."""
    second = criwist_daemon(metrics_bind_addr=metrics.address.removeprefix("http://"))
    with pytest.raises(RuntimeError, match=r"criwist: cannot serve metrics on .* in use"):
        second.start()


# -- Prometheus


def test_rules() -> None:
    """promtool accepts the alert rules, and each fires in the case that it is for and not before."""
    promtool = shutil.which("promtool")
    assert promtool is not None
    rules = ROOT / "etc/prometheus/criwist.rules.yml"
    subprocess.run([promtool, "check", "rules", str(rules)], check=True, capture_output=True)
    tests = ROOT / "tests/functional/criwist.rules.test.yml"
    done = subprocess.run([promtool, "test", "rules", str(tests)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus(node: CRI, metrics: Metrics, tmp_path: Path) -> None:
    """A real Prometheus scrapes every metric, and evaluates every alert rule; none fires on a healthy node."""
    node.run_in_pod()
    rules = ROOT / "etc/prometheus/criwist.rules.yml"
    prometheus = Prometheus(tmp_path / "prometheus", metrics.address.removeprefix("http://"), rules)
    try:
        prometheus.start()
        eventually(lambda: [one["value"][1] for one in prometheus.query("up")] == ["1"], within=20)
        eventually(lambda: len(prometheus.query("criwist_docker_connected[10s]")[0]["values"]) > 3, within=20)
        names = {re.sub("_(bucket|sum|count)$", "", name) for name in prometheus.ask("label/__name__/values")}
        # These have no series until something happens that has not.
        optional = {"criwist_image_pull_downloaded_bytes", "criwist_image_pull_announced_bytes"}
        optional |= {"criwist_image_pulls_total", "criwist_container_oom_kills_total"}
        assert names >= DOCUMENTED - optional
        evaluated = {"ok"}
        eventually(lambda: {one["health"] for one in prometheus.ask("rules")["groups"][0]["rules"]} == evaluated)
        (group,) = prometheus.ask("rules")["groups"]
        assert {one["state"] for one in group["rules"]} == {"inactive"}
    finally:
        prometheus.stop()
