"""The page for people, on a real engine: as a client without JavaScript gets it, and in a real browser."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.browser import Browser, Tab
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.daemon import Daemon
from tests.harness.engine import Engine
from tests.harness.metrics import Metrics
from tests.harness.slow_registry import SlowRegistry

MakeDaemon = Callable[..., Daemon]
ClientOf = Callable[[Daemon], CRI]

HOSTILE = "<script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">&amp;'"


@pytest.fixture
def daemon(criwist_daemon: MakeDaemon) -> Daemon:
    """A criwist with metrics, started."""
    daemon = criwist_daemon(metrics_bind_addr="127.0.0.1:0")
    daemon.start()
    return daemon


@pytest.fixture
def node(daemon: Daemon, client_of: ClientOf) -> CRI:
    """Its client."""
    return client_of(daemon)


@pytest.fixture
def metrics(daemon: Daemon) -> Metrics:
    """Its metrics address."""
    return Metrics(daemon)


@pytest.fixture
def browser(session_root: Path, tmp_path: Path) -> Iterator[Browser]:
    """A browser in the session's network namespace."""
    browser = Browser(tmp_path)
    yield browser
    browser.stop()


class Updates:
    """A client of the updates, as a browser's EventSource is one, which builds the state of each list from them."""

    def __init__(self, metrics: Metrics) -> None:
        host, _, port = metrics.address.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=scaled(20))
        self._connection.request("GET", "/updates")
        self.response = self._connection.getresponse()
        #: By list: row by key, as JSON.
        self.lists: dict[str, dict[str, str]] = {}
        #: How many updates came, and the lists of the last one.
        self.count = 0
        self.changed: set[str] = set()

    def next(self) -> None:
        """Read one update."""
        while not (line := self.response.readline()).startswith(b"data: "):
            assert line, "the updates have ended"
        changes = json.loads(line.removeprefix(b"data: "))
        for name, change in changes.items():
            rows = self.lists.setdefault(name, {})
            rows |= {key: json.dumps(row, ensure_ascii=False) for key, row in change.get("rows", ())}
            if "order" in change:
                self.lists[name] = {key: rows[key] for key in change["order"]}
        self.count += 1
        self.changed = set(changes)

    def until(self, condition: Callable[[], Any], within: int = 30) -> None:
        """Read updates, of which one comes each second, until the condition holds."""
        for _ in range(int(scaled(within))):
            if condition():
                return
            self.next()
        raise AssertionError(f"not within {within} updates: {self.lists}")

    def text(self, name: str) -> str:
        """Return the rows of a list."""
        return "\n".join(self.lists.get(name, {}).values())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture
def updates(metrics: Metrics) -> Iterator[Updates]:
    """The updates of an open page."""
    updates = Updates(metrics)
    yield updates
    updates.close()


def answer(metrics: Metrics, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers by lower-case name, and body."""
    host, _, port = metrics.address.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=scaled(20))
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    found = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return found


def test_without_javascript(node: CRI, metrics: Metrics, tmp_path: Path) -> None:
    """The document itself has the whole state: a text browser shows conditions, pods, figures, events, latencies."""
    pod = node.pod("shown")
    pod_id = node.run_pod(pod)
    node.run(pod_id, node.container(name="runs"), pod)
    node.wait_for_exit(node.run(pod_id, node.container("sh", "-c", "exit 3", name="fails"), pod))
    metrics.get("/")  # after which the kernel is read for a while

    def shown() -> str:
        (tmp_path / "page.html").write_text(metrics.get("/")[2])
        command = ["w3m", "-T", "text/html", "-O", "UTF-8", "-dump", "-cols", "160", str(tmp_path / "page.html")]
        text = subprocess.run(command, check=True, capture_output=True, env={"HOME": str(tmp_path), "LANG": "C.UTF-8"})
        found = text.stdout.decode()
        assert re.search(r"runs \S+\s+\d+ m ▁+\s+\d[\d.]* [KM]iB ▁+", found), found
        return found

    text = eventually(shown, within=30)
    assert "RuntimeReady  true" in text
    assert re.search("● criwist-tests/shown +", text)
    assert "✕ fails exit 3 " in text
    assert re.search(r"stopped +criwist-tests/shown fails +exit 3", text)
    assert re.search(r"CRI +RunPodSandbox +1 ", text)
    assert re.search(r"reactor +delay of a timer", text)
    assert "<" not in text


def live(tab: Tab) -> None:
    """Wait until the page in the browser is live."""
    eventually(lambda: tab.value("document.getElementById('live')?.textContent") == "live", within=30)


def test_hostile_strings(
    node: CRI, metrics: Metrics, browser: Browser, slow_registry: SlowRegistry, daemon: Daemon
) -> None:
    """Markup in labels, names of images and a registry's messages is text in the document and in updates."""
    slow_registry.status, slow_registry.message = 400, HOSTILE
    pod = node.pod(labels={"label": HOSTILE}, annotations={"annotation": HOSTILE})
    config = node.container(labels={"label": HOSTILE}, envs=[api.KeyValue(key="E", value=HOSTILE.encode())])
    config.image.user_specified_image = HOSTILE
    with open_tab(browser, metrics) as tab:  # so that everything comes by updates
        node.run(node.run_pod(pod), config, pod)
        with pytest.raises(grpc.RpcError):
            node.pull(f"{slow_registry.host}/hostile:1")
        assert HOSTILE in daemon.log_text()
        for list_name in ("pods", "warnings"):
            shown = f"document.getElementById('{list_name}').textContent"
            eventually(lambda shown=shown: "<script>document.title" in tab.value(shown), within=20)  # type: ignore[misc]
        harmless(tab)
    assert metrics.get("/")[2].count("<script") == 1
    assert "<img" not in metrics.get("/")[2]
    with open_tab(browser, metrics) as tab:  # and now by the document
        harmless(tab)


@contextmanager
def open_tab(browser: Browser, metrics: Metrics, **arguments: Any) -> Iterator[Tab]:
    """Open the page in the browser, and wait until it is live."""
    tab = browser.open(f"{metrics.address}/", **arguments)
    live(tab)
    yield tab
    tab.close()


def harmless(tab: Tab) -> None:
    """Check that nothing but the page's own script ran, and that nothing was refused."""
    assert tab.value("document.title").startswith("criwist on ")
    assert tab.value("document.scripts.length") == 1
    assert tab.value("document.images.length") == 0
    assert tab.complaints() == []


def test_browser(node: CRI, metrics: Metrics, browser: Browser, daemon: Daemon) -> None:
    """In a browser the page draws plots, follows what happens, loads nothing else, and says when it is not live."""
    _, container_id = node.run_in_pod(name="runs")
    plots = "Array.from(document.querySelectorAll('#pods svg.plot path.line'), (one) => one.getAttribute('d'))"
    with open_tab(browser, metrics) as tab, open_tab(browser, metrics, width=390, height=800, dark=True) as small:
        eventually(lambda: len([d for d in tab.value(plots) if d]) == 2, within=30)
        assert tab.value("document.querySelector('#pods svg.plot').getBoundingClientRect().width") > 20
        for one, width in ((tab, 1280), (small, 390)):
            assert one.value("document.documentElement.scrollWidth") == width
        colours = [one.value("getComputedStyle(document.body).backgroundColor") for one in (tab, small)]
        assert colours == ["rgb(246, 247, 248)", "rgb(20, 23, 27)"]
        node.stop(container_id, timeout=0)
        eventually(lambda: "exit 137" in tab.value("document.getElementById('pods').textContent"), within=20)
        assert "stopped" in tab.value("document.getElementById('events').textContent")
        names = ("", "page.css", "page.js", "page.svg", "updates")
        assert tab.requested() <= {f"{metrics.address}/{name}" for name in names}
        harmless(tab)
        harmless(small)
        daemon.stop()
        eventually(lambda: tab.value("document.getElementById('live').textContent").startswith("not live"), within=20)


def test_document_and_updates_draw_the_same(node: CRI, metrics: Metrics, browser: Browser) -> None:
    """An element that the script builds is the one of the document, plots included."""
    pod = node.pod()
    pod_id = node.run_pod(pod)
    node.run(pod_id, node.container(name="runs"), pod)
    node.wait_for_exit(node.run(pod_id, node.container("true", name="ends"), pod))
    script = """(async () => {
        const html = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
        const tree = (node) => node.nodeType === 3 ? node.data : [
            node.localName,
            Array.from(node.attributes, (one) => one.name + "=" + one.value).sort(),
            Array.from(node.childNodes).filter((one) => one.localName !== "text").map(tree),
        ];
        const rows = (root, list) => Array.from(root.getElementById(list).children, (row) => {
            row = row.cloneNode(true);
            row.normalize();  // the script makes a node of each string
            return JSON.stringify(tree(row));
        });
        const lists = ["conditions", "pods", "events", "warnings"];
        return lists.flatMap((list) => {
            const [first, second] = [rows(html, list), rows(document, list)];
            return first.length ? first.filter((row) => !second.includes(row)) : ["nothing in " + list];
        });
    })()"""
    with open_tab(browser, metrics) as tab:
        drawn = "document.querySelectorAll('#pods svg').length"
        eventually(lambda: tab.value(drawn) >= 4, within=30)

        eventually(lambda: tab.value(script) == [], within=30, what="no row that differs")


def test_updates(node: CRI, updates: Updates, slow_registry: SlowRegistry) -> None:
    """A client gets everything first and then what changes: a pull's bar while it runs, pods that come and go."""
    assert updates.response.headers["Content-Type"] == "text/event-stream"
    updates.next()
    assert updates.changed >= {"summary", "conditions", "pulls", "pods", "events", "warnings", "latencies"}
    slow_registry.stall_at = slow_registry.large // 2
    slow_registry.pause = 0.02  # Docker reports a layer every tenth of a second at most
    name = f"{slow_registry.host}/{uuid.uuid4().hex}:1"
    pulling = threading.Thread(target=node.pull, args=(name,))
    pulling.start()
    updates.until(lambda: re.search(r'"max": "4\d{6}"', updates.text("pulls")))
    assert name in updates.text("pulls")
    assert re.search(r'\["progress", .*"value": "\d+"', updates.text("pulls"))
    slow_registry.go_on()
    pulling.join()
    updates.until(lambda: name not in updates.text("pulls"))
    pod_id, _ = node.run_in_pod(name="comes")
    updates.until(lambda: '"comes"' in updates.text("pods"))
    updates.until(lambda: '"levels"' in updates.text("pods"))
    node.clean()
    updates.until(lambda: pod_id not in updates.lists["pods"])
    assert '"deleted"' in updates.text("events")
    updates.next()
    assert updates.changed <= {"summary", "latencies"}
    node.remove_image(name)


def test_docker_away(criwist_daemon: MakeDaemon, engine_factory: Callable[..., Engine], browser: Browser) -> None:
    """When Docker stops, the page shows the condition and why, and when it is back, that it is."""
    engine = engine_factory()
    engine.start()
    daemon = criwist_daemon(metrics_bind_addr="127.0.0.1:0", engine=engine)
    daemon.start()
    conditions = "document.getElementById('conditions').textContent"
    with open_tab(browser, Metrics(daemon)) as tab:
        eventually(lambda: tab.value(conditions).startswith("● RuntimeReadytrue"), within=20)
        engine.stop()
        eventually(
            lambda: re.match("✕ RuntimeReadyfalseDockerIsAway: Docker is away", tab.value(conditions)), within=20
        )
        engine.start()
        eventually(lambda: tab.value(conditions).startswith("● RuntimeReadytrue"), within=30)
        harmless(tab)


def test_requests(metrics: Metrics) -> None:
    """Each path has its type, its caching and the policy; other methods and paths are refused."""
    for path, kind, caching in (
        ("/", "text/html; charset=utf-8", "no-store"),
        ("/page.css", "text/css; charset=utf-8", "no-cache"),
        ("/page.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/page.svg", "image/svg+xml", "no-cache"),
        ("/updates", "text/event-stream", "no-store"),
    ):
        for method in ("HEAD",) if path == "/updates" else ("GET", "HEAD"):
            status, headers, body = answer(metrics, path, method)
            assert (status, headers["content-type"], headers["cache-control"]) == (200, kind, caching)
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
            assert headers["x-content-type-options"] == "nosniff"
            assert bool(body) == (method == "GET")
        assert answer(metrics, path, "POST")[0] == 405
        assert answer(metrics, f"{path.rstrip('/')}/more")[0] == 404
    tag = answer(metrics, "/page.js")[1]["etag"]
    assert answer(metrics, "/page.js", If_None_Match=tag)[::2] == (304, b"")
    assert answer(metrics, "/page.js", If_None_Match='"other"')[0] == 200


def test_foreign_names(metrics: Metrics) -> None:
    """A site that has given its own name this address reads nothing; localhost and addresses are served."""
    for host in ("localhost", "localhost:9105", "127.0.0.1:1", "[::1]:9105"):
        assert answer(metrics, "/", Host=host)[0] == 200
    for path in ("/", "/updates"):
        status, _, body = answer(metrics, path, Host="attacker.example:9105")
        assert status == 403
        assert b"pods" not in body
    assert answer(metrics, "/healthz", Host="attacker.example")[0] == 200


def test_too_many_pages(metrics: Metrics) -> None:
    """No more than 16 pages are live; the next one is answered 503, and metrics are served all the same."""
    clients = [Updates(metrics) for _ in range(16)]
    try:
        for client in clients:
            client.next()
        status, headers, _ = answer(metrics, "/updates")
        assert (status, headers["retry-after"]) == (503, "10")
        assert answer(metrics, "/")[0] == 200
        assert metrics.value("docker_connected") == 1
        clients.pop().close()
        freed = eventually(lambda: accepted(metrics), within=20)
        assert freed is not None
        clients.append(freed)
        freed.next()
    finally:
        for client in clients:
            client.close()


def accepted(metrics: Metrics) -> Updates | None:
    """Return a client of the updates; None if there are too many."""
    client = Updates(metrics)
    if client.response.status == 200:
        return client
    client.close()
    return None


def test_nobody_looks(daemon: Daemon, node: CRI, metrics: Metrics) -> None:
    """Before the first look nothing is read: the first document has no plot of CPU, and no history."""
    node.run_in_pod()
    assert metrics.get("/")[2].count('aria-label="CPU') == 0
