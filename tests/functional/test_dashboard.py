"""Every query of ``etc/grafana/criwist.json`` has an answer, from a real Prometheus that scrapes a busy criwist."""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from attrs import define, field

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.client import CRI, refused
from tests.harness.clock import eventually
from tests.harness.cni import PodNetwork
from tests.harness.daemon import Daemon
from tests.harness.metrics import Metrics
from tests.harness.prometheus import Prometheus
from tests.harness.promql import metric_names
from tests.harness.slow_registry import SlowRegistry
from tests.harness.spdy_client import Client
from tools.dashboard import dashboard

ROOT = Path(__file__).resolve().parents[2]
TRACE = uuid.uuid4().hex
TRACED = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
#: Longer than the test: a rate sees all that happened.
_WINDOW = "15m"
pytestmark = pytest.mark.usefixtures("load")


@pytest.fixture
def node(network: PodNetwork, daemon: Daemon, client_of: Callable[[Daemon], CRI]) -> CRI:
    """A criwist with metrics on a network whose plugin failed once."""
    daemon.options |= {"metrics_bind_addr": "127.0.0.1:0", "image_pull_progress_deadline": "0"}
    network.configure([network.script("broken", "exit 3")])
    daemon.start()
    node = client_of(daemon)
    refused(lambda: node.run_pod(), grpc.StatusCode.INTERNAL)
    network.configure()

    def pod_starts() -> bool:
        try:
            return bool(node.run_pod())
        except grpc.RpcError:
            return False

    eventually(pod_starts, within=30)
    return node


@pytest.fixture
def prometheus(node: CRI, daemon: Daemon, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes it, with the alert rules."""
    target = Metrics(daemon).address.removeprefix("http://")
    prometheus = Prometheus(tmp_path / "prometheus", target, ROOT / "etc/prometheus/criwist.rules.yml")
    prometheus.start()
    yield prometheus
    prometheus.stop()


@define
class Load:
    """Pods that come, work, fail and go, on and on, while a pod, a session and a pull stay."""

    _node: CRI
    _registry: SlowRegistry
    #: The pod that stays.
    pod: api.PodSandboxConfig = field(init=False)
    _ended: threading.Event = field(factory=threading.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.pod = self._node.pod()

    def run(self) -> None:
        """Work until :meth:`end`."""
        node = self._node
        pod_id = node.run_pod(self.pod)
        working = node.container("sh", "-c", "echo written > /file; while :; do echo line; sleep 0.1; done")
        working.linux.resources.cpu_quota, working.linux.resources.cpu_period = 50_000, 100_000
        container_id = node.run(pod_id, working, self.pod)
        exec_request = api.ExecRequest(container_id=container_id, cmd=["cat"], stdin=True)
        session = Client(node.runtime.Exec(exec_request).url)
        last = ""
        for attempt in itertools.count():
            if self._ended.is_set():
                break
            last = self._out_of_memory(pod_id, attempt, last)
            self._round(container_id)
        session.close()

    def end(self) -> None:
        """Begin no further round."""
        self._ended.set()

    def _round(self, container_id: str) -> None:
        node = self._node
        node.execute(container_id, "true")
        node.runtime.Version(api.VersionRequest(), metadata=TRACED)
        refused(lambda: node.status("0" * 64), grpc.StatusCode.NOT_FOUND)
        pod = node.pod()
        pod_id = node.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod), metadata=TRACED).pod_sandbox_id
        refused(lambda: node.create(pod_id, node.container(image="nowhere/none:1"), pod), grpc.StatusCode.NOT_FOUND)
        node.stop(node.run(pod_id, node.container(), pod))
        node.stop_pod(pod_id)
        node.remove_pod(pod_id)
        name = f"{self._registry.host}/{uuid.uuid4().hex}:1"
        node.pull(name)
        node.remove_image(name)

    def _out_of_memory(self, pod_id: str, attempt: int, last: str) -> str:
        """Run the next attempt of a container that needs too much memory, and remove the last one."""
        config = self._node.container("sh", "-c", "tail /dev/zero", name="hungry")
        config.metadata.attempt = attempt
        config.linux.resources.memory_limit_in_bytes = 16 << 20
        container_id = self._node.run(pod_id, config, self.pod)
        self._node.wait_for_exit(container_id, within=30)
        if last:
            self._node.remove(last)
        return container_id


@pytest.fixture
def prompt_registry() -> Iterator[SlowRegistry]:
    """A registry without stalls."""
    registry = SlowRegistry()
    registry.start()
    yield registry
    registry.stop()


@pytest.fixture
def load(node: CRI, slow_registry: SlowRegistry, prompt_registry: SlowRegistry) -> Iterator[Load]:
    """The load, under way; one more pull has stopped in the middle.  Its errors are the test's."""
    slow_registry.stall_at = slow_registry.large // 2
    load = Load(node, prompt_registry)
    with ThreadPoolExecutor(2) as threads:
        pulling = threads.submit(node.pull, f"{slow_registry.host}/{uuid.uuid4().hex}:1", timeout=600)
        eventually(lambda: slow_registry.stalled == 1, within=30)
        working = threads.submit(load.run)
        try:
            yield load
        finally:
            load.end()
            slow_registry.go_on()
        working.result()
        pulling.result()


def concrete(expression: str, **chosen: str) -> str:
    """Return an expression with values in place of the dashboard's variables: everything, unless *chosen*."""
    values = {"instance": ".*", "namespace": ".*", "pod": ".*", "__rate_interval": _WINDOW} | chosen
    return re.sub(r"\$(\w+)", lambda variable: values[variable[1]], expression)


def expressions() -> dict[str, str]:
    """Return the expressions of all panels by a name for a reader."""
    return {
        f"{panel['title']} ({panel['id']}{target['refId']})": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }


def has_value(series: list[Any]) -> bool:
    """Whether a series has a number."""
    return any(math.isfinite(float(one["value"][1])) for one in series)


def test_every_query(prometheus: Prometheus, daemon: Daemon) -> None:
    """Each panel's query has a series with a number on a node where all of that happens; so has every variable."""
    waiting = expressions()

    def all_answered() -> bool:
        for name, expression in list(waiting.items()):
            if has_value(prometheus.query(concrete(expression))):
                del waiting[name]
        assert waiting == {}
        return True

    eventually(all_answered, within=120)
    served = {sample.name for sample in Metrics(daemon).samples()} | {"up", "ALERTS"}
    used = {name for expression in expressions().values() for name in metric_names(expression)}
    assert used - served == set()


def test_variables(prometheus: Prometheus, load: Load) -> None:
    """The variables offer the node, namespaces and pods, and the chosen pod is the only one that panels show."""

    def values(variable: dict[str, Any], **chosen: str) -> set[str]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"], re.DOTALL)
        assert found is not None
        return set(prometheus.ask(f"label/{found[2]}/values", **{"match[]": concrete(found[1], **chosen)}))

    variables = {one["name"]: one for one in dashboard()["templating"]["list"] if one["type"] == "query"}
    (instance,) = eventually(lambda: values(variables["instance"]), within=30)
    assert instance in prometheus.ask("targets")["activeTargets"][0]["scrapeUrl"]
    pod, namespace = load.pod.metadata.name, load.pod.metadata.namespace
    eventually(lambda: pod in values(variables["pod"], instance=instance, namespace=namespace), within=60)
    assert values(variables["namespace"], instance=instance) == {namespace}
    assert values(variables["pod"], instance=instance, namespace="other") == set()
    for name, expression in expressions().items():
        if '"$pod"' in expression:
            query = concrete(expression, instance=instance, namespace=namespace, pod=pod)
            found = eventually(lambda query=query: prometheus.query(query), within=60, what=name)  # type: ignore[misc]
            assert {one["metric"]["pod"] for one in found} == {pod}, name


def test_exemplars(prometheus: Prometheus) -> None:
    """Panels with exemplars show the trace of a call."""
    panels = [target for panel in dashboard()["panels"] for target in panel.get("targets", ()) if target["exemplar"]]
    assert panels

    def traces(expression: str) -> set[str]:
        now = time.time()
        found = prometheus.ask("query_exemplars", query=concrete(expression), start=str(now - 900), end=str(now + 60))
        return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}

    for target in panels:
        eventually(lambda expression=target["expr"]: traces(expression) == {TRACE}, within=60)  # type: ignore[misc]
