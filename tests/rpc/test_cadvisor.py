"""cAdvisor's view of a node: answered from the cache, and right about containers that are just being made."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from criwist import errors
from criwist.rpc.cadvisor import CadvisorService
from tests.core.memory_node import IMAGE, PAUSE, MemoryNode, NodeTestCase
from tests.harness.cadvisor import MESSAGES


@define
class SettlingDispatcher:
    """Runs the coroutine that a thread waits for, with what a test does meanwhile.

    A coroutine that does not return then has waited too long.
    """

    node: MemoryNode
    meanwhile: Callable[[], object] = lambda: None

    def wait(self, start: Callable[[], Coroutine[Any, Any, None]], seconds: float, what: str) -> None:
        waiting = Deferred.fromCoroutine(start())
        self.meanwhile()
        self.node.settle()
        outcome: list[Any] = []
        waiting.addBoth(outcome.append)
        if not outcome:
            raise errors.DeadlineExceeded(what)
        if outcome[0] is not None:
            outcome[0].raiseException()


class CadvisorTests(NodeTestCase):
    """The three methods."""

    def setUp(self) -> None:
        super().setUp()
        self.dispatcher = SettlingDispatcher(self.node)
        self.service = CadvisorService(self.node.cache, self.dispatcher)  # type: ignore[arg-type] # a double

    def container(self, identifier: str) -> Any:
        """Return the container in the response of Containers/Get."""
        request = MESSAGES["GetContainerRequest"](id=identifier).SerializeToString()
        return MESSAGES["GetContainerResponse"].FromString(self.service.container(request)).container

    def task(self, identifier: str) -> Any:
        """Return the process in the response of Tasks/Get."""
        request = MESSAGES["GetRequest"](container_id=identifier).SerializeToString()
        return MESSAGES["GetResponse"].FromString(self.service.task(request)).process

    def labels(self, identifier: str) -> dict[str, str]:
        """Return the labels of a container."""
        return {label.key: label.value for label in self.container(identifier).labels}

    def test_sandbox(self) -> None:
        """A sandbox has its pod's labels, its image, and no container name."""
        sandbox_id = self.run_pod()
        self.assertEqual(
            self.labels(sandbox_id),
            {
                "io.kubernetes.pod.name": "pod",
                "io.kubernetes.pod.namespace": "default",
                "io.kubernetes.pod.uid": "uid-pod",
                "io.cri-containerd.kind": "sandbox",
            },
        )
        self.assertEqual(self.container(sandbox_id).image, PAUSE)
        self.assertEqual(self.task(sandbox_id).pid, self.node.cache.snapshot.sandboxes[sandbox_id].pid)

    def test_container(self) -> None:
        """A container has its pod's labels and its own name, whatever labels its creator gave it."""
        sandbox_id = self.run_pod()
        container_id = self.run_container(sandbox_id)
        labels = self.labels(container_id)
        self.assertEqual(labels["io.kubernetes.container.name"], "main")
        self.assertEqual(labels["io.kubernetes.pod.name"], "pod")
        self.assertEqual(labels["io.cri-containerd.kind"], "container")
        self.assertEqual(self.container(container_id).image, IMAGE)
        self.assertEqual(self.task(container_id).pid, self.node.cache.snapshot.containers[container_id].pid)

    def test_no_request_to_docker(self) -> None:
        """Neither known nor unknown ids cost a request to Docker."""
        container_id = self.run_container(self.run_pod())
        self.node.docker.requests.clear()
        self.container(container_id)
        self.task(container_id)
        self.assertRaises(errors.NotFound, self.container, "0" * 64)
        self.assertEqual(self.node.docker.requests, [])

    def test_prefix_of_an_id(self) -> None:
        """A prefix of an id is unknown: containerd has no prefixes."""
        container_id = self.run_container(self.run_pod())
        self.assertRaises(errors.NotFound, self.container, container_id[:12])
        self.assertRaises(errors.NotFound, self.container, "")

    def test_ended(self) -> None:
        """A container that does not run has labels and no task."""
        container_id = self.run_container(self.run_pod())
        self.node.docker.end(container_id)
        self.assertEqual(self.labels(container_id)["io.cri-containerd.kind"], "container")
        self.assertRaises(errors.NotFound, self.task, container_id)

    def test_under_inspection(self) -> None:
        """A request for a container that is being inspected waits for that inspection, and causes none."""
        held = self.node.docker.hold("GET /containers/.*/json")
        running = self.node.run(self.node.sandboxes.run(self.node.sandbox_config(), ""))
        (sandbox_id,) = self.node.docker.containers.all
        self.dispatcher.meanwhile = held.release
        self.assertEqual(self.labels(sandbox_id)["io.kubernetes.pod.name"], "pod")
        self.successResultOf(running)

    def test_before_the_first_listing(self) -> None:
        """A request for an unknown container waits for the listing after criwist's start."""
        sandbox_id = self.run_pod()
        self.node.feed.stop()
        self.node.build()
        self.service = CadvisorService(self.node.cache, self.dispatcher)  # type: ignore[arg-type] # a double
        self.dispatcher.meanwhile = self.node.start
        self.assertEqual(self.labels(sandbox_id)["io.kubernetes.pod.name"], "pod")

    def test_docker_is_away(self) -> None:
        """While Docker is away known containers are answered, and others are not said to be absent."""
        sandbox_id = self.run_pod()
        self.node.docker.away()
        self.node.settle()
        self.assertEqual(self.labels(sandbox_id)["io.cri-containerd.kind"], "sandbox")
        self.assertRaises(errors.Unavailable, self.container, "0" * 64)

    def test_wrong_request(self) -> None:
        """Bytes that are no request are an invalid argument."""
        self.assertRaises(errors.InvalidArgument, self.service.container, b"\x0a\x05x")
