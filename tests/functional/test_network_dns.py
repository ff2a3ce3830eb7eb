"""resolv.conf of pods, from the first instruction of each container on, and over restarts of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.client import CRI
from tests.harness.clock import eventually
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine

DNS = api.DNSConfig(servers=["192.0.2.53", "fd00::53"], searches=["a.example", "b.example"], options=["ndots:5"])
TEXT = "nameserver 192.0.2.53\nnameserver fd00::53\nsearch a.example b.example\noptions ndots:5\n"


@pytest.fixture(scope="module")
def surviving(engine_factory: Callable[..., Engine]) -> Iterator[Engine]:
    """An engine with live-restore, whose containers go on when it stops."""
    engine = engine_factory(live_restore=True)
    engine.start()
    images.load_all(engine)
    yield engine
    engine.destroy()


@pytest.fixture
def node(
    surviving: Engine, criwist_daemon: Callable[..., Daemon], client_of: Callable[[Daemon], CRI]
) -> tuple[CRI, Daemon]:
    """A criwist on that engine."""
    daemon = criwist_daemon(engine=surviving)
    daemon.start()
    return client_of(daemon), daemon


def seen(client: CRI, container_id: str) -> str:
    """Return the resolv.conf of a running container."""
    return client.output(container_id, "cat", "/etc/resolv.conf")


def runtime_ready(client: CRI) -> bool:
    """Return whether criwist is connected to its engine."""
    conditions = client.runtime.Status(api.StatusRequest()).status.conditions
    return any(condition.type == "RuntimeReady" and condition.status for condition in conditions)


def test_first_instruction(cri: CRI) -> None:
    """The first program of a container has the pod's servers, not the node's."""
    pod = cri.pod(dns_config=DNS)
    pod_id = cri.run_pod(pod)
    container_id = cri.run(pod_id, cri.container("sh", "-c", "cp /etc/resolv.conf /out/first; sleep 1000"), pod)
    assert eventually(lambda: cri.execute(container_id, "cat", "/out/first").stdout).decode() == TEXT


def test_host_network(cri: CRI) -> None:
    """A pod on the node's network has the requested servers too."""
    pod = cri.host_network_pod(dns_config=DNS)
    pod_id = cri.run_pod(pod)
    assert seen(cri, cri.run(pod_id, cri.container(), pod)) == TEXT


def test_nothing_asked_for(cri: CRI, engine: Engine) -> None:
    """A pod with an empty configuration keeps the node's settings, which the engine writes."""
    pod_id, container_id = cri.run_in_pod()
    with open(engine.inspect(pod_id)["ResolvConfPath"], encoding="utf-8") as file:
        assert seen(cri, container_id) == file.read()


@pytest.mark.second_opinion
def test_hostname_with_a_domain(cri: CRI) -> None:
    """The host name of a pod with setHostnameAsFQDN includes its domain."""
    pod = cri.pod()
    pod.hostname = "web-0.web.shop.svc.cluster.example"
    container_id = cri.run(cri.run_pod(pod), cri.container(), pod)
    assert cri.output(container_id, "hostname").strip() == pod.hostname
    assert cri.output(container_id, "cat", "/proc/sys/kernel/hostname").strip() == pod.hostname


def test_options_alone(cri: CRI) -> None:
    """An empty setting is not taken from the node."""
    pod = cri.pod(dns_config=api.DNSConfig(servers=["192.0.2.1"]))
    pod_id = cri.run_pod(pod)
    assert seen(cri, cri.run(pod_id, cri.container(), pod)) == "nameserver 192.0.2.1\n"


def test_shared_by_the_pod(cri: CRI) -> None:
    """Containers of a pod share one file: what one writes the others read."""
    pod = cri.pod(dns_config=DNS)
    pod_id = cri.run_pod(pod)
    one, other = (cri.run(pod_id, cri.container(), pod) for _ in range(2))
    cri.shell(one, "echo '# written' >> /etc/resolv.conf")
    assert seen(cri, other) == TEXT + "# written\n"


def test_read_only_container(cri: CRI) -> None:
    """A container with a read-only root cannot change the name resolution of its pod."""
    pod = cri.pod(dns_config=DNS)
    pod_id = cri.run_pod(pod)
    context = api.LinuxContainerSecurityContext(readonly_rootfs=True)
    fixed = cri.run(pod_id, cri.container(linux=api.LinuxContainerConfig(security_context=context)), pod)
    assert cri.execute(fixed, "sh", "-c", "echo x >> /etc/resolv.conf").exit_code != 0


def test_engine_killed(node: tuple[CRI, Daemon], surviving: Engine) -> None:
    """After the engine was killed and started again, old and new containers of the pod have its resolv.conf."""
    client, _ = node
    pod = client.pod(dns_config=DNS)
    pod_id = client.run_pod(pod)
    old = client.run(pod_id, client.container(), pod)
    surviving.kill()
    surviving.start()
    eventually(lambda: runtime_ready(client), within=30)
    assert seen(client, old) == TEXT
    assert seen(client, client.run(pod_id, client.container(), pod)) == TEXT


def test_pause_started_again(node: tuple[CRI, Daemon], surviving: Engine) -> None:
    """After the engine has written its own file again, as when the pause restarts, containers have the pod's."""
    client, daemon = node
    pod = client.pod(dns_config=DNS)
    pod_id = client.run_pod(pod)
    with open(surviving.inspect(pod_id)["ResolvConfPath"], "w", encoding="utf-8") as file:
        file.write("nameserver 198.51.100.1\n")
    assert seen(client, client.run(pod_id, client.container(), pod)) == TEXT
    client.remove_pod(pod_id)
    assert list((daemon.state / "resolv-confs").iterdir()) == []
