"""Namespaces of pods and containers."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument, Unimplemented
from criwist.translate.namespaces import container_namespaces, node_network, sandbox_namespaces
from tests.translate.outcomes import NEWEST, minimal_sandbox

REMAPPED = evolve(NEWEST, security=NEWEST.security | {"userns"})


def pod(*, hostname: str = "host", privileged: bool = False, **options: object) -> pb.PodSandboxConfig:
    """A pod with these namespace options."""
    config = minimal_sandbox()
    config.hostname = hostname
    context = config.linux.security_context
    context.privileged = privileged
    context.namespace_options.MergeFrom(pb.NamespaceOption(**options))  # type: ignore[arg-type]
    return config


def container(sandbox: pb.PodSandboxConfig, *, engine=NEWEST, **options) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """The modes of a container with these namespace options."""
    return container_namespaces(
        pb.NamespaceOption(**options),
        sandbox,
        sandbox_id="sandbox",
        host_network=node_network(sandbox),
        engine=engine,
        field="options",
    )


class Sandboxes(SynchronousTestCase):
    """The pause container."""

    def test_own(self) -> None:
        """A pod has its own network, and an IPC namespace that its containers can join."""
        self.assertEqual(
            sandbox_namespaces(pod(), network_mode="none", engine=NEWEST),
            {"NetworkMode": "none", "IpcMode": "shareable"},
        )

    def test_the_nodes(self) -> None:
        """NODE is the host's namespace; on the node's network the pod has the node's hostname."""
        node = pod(hostname="", network=pb.NODE, pid=pb.NODE, ipc=pb.NODE)
        self.assertEqual(
            sandbox_namespaces(node, network_mode="none", engine=NEWEST),
            {"NetworkMode": "host", "IpcMode": "host", "PidMode": "host", "UTSMode": "host"},
        )

    def test_hostname_on_the_nodes_network(self) -> None:
        """On the node's network a requested hostname puts the pod into a UTS namespace of its own."""
        modes = sandbox_namespaces(pod(network=pb.NODE), network_mode="none", engine=NEWEST)
        self.assertNotIn("UTSMode", modes)

    def test_target(self) -> None:
        """A sandbox cannot target a container, since it exists before all of them."""
        for options in ({"pid": pb.TARGET}, {"target_id": "x"}):
            self.assertRaises(InvalidArgument, sandbox_namespaces, pod(**options), network_mode="none", engine=NEWEST)


class Containers(SynchronousTestCase):
    """A workload container."""

    def test_shared(self) -> None:
        """Network and IPC are the sandbox's, with POD also PID."""
        self.assertEqual(
            container(pod()),
            {"NetworkMode": "container:sandbox", "IpcMode": "container:sandbox", "PidMode": "container:sandbox"},
        )

    def test_own_pid(self) -> None:
        """For PID, CONTAINER is Docker's default."""
        self.assertNotIn("PidMode", container(pod(), pid=pb.CONTAINER))

    def test_node(self) -> None:
        """A container gets the node's namespaces if its pod has them."""
        node = pod(hostname="", network=pb.NODE, pid=pb.NODE, ipc=pb.NODE)
        self.assertEqual(
            container(node, network=pb.NODE, pid=pb.NODE, ipc=pb.NODE),
            {"NetworkMode": "container:sandbox", "IpcMode": "host", "PidMode": "host", "UTSMode": "host"},
        )

    def test_follows_the_sandbox(self) -> None:
        """A container with empty options gets the sandbox's namespaces."""
        modes = container(pod(hostname="", network=pb.NODE, ipc=pb.NODE))
        self.assertEqual((modes["IpcMode"], modes["UTSMode"]), ("host", "host"))

    def test_disagreement(self) -> None:
        """A container cannot be on the node's network or in its IPC namespace if its sandbox is not."""
        for name in ("network", "ipc"):
            error = self.assertRaises(InvalidArgument, container, pod(), **{name: pb.NODE})
            self.assertEqual(error.field, f"options.{name}")

    def test_target(self) -> None:
        """TARGET joins another container's PID namespace; only TARGET has a target, and it must."""
        self.assertEqual(container(pod(), pid=pb.TARGET, target_id="other")["PidMode"], "container:other")
        self.assertRaises(InvalidArgument, container, pod(), pid=pb.TARGET)
        self.assertRaises(InvalidArgument, container, pod(), target_id="other")


class UserNamespaces(SynchronousTestCase):
    """User namespaces of a pod's own, and engines that remap all containers."""

    def test_refused(self) -> None:
        """A pod's own user namespace is refused, since Docker cannot make it."""
        own: dict[str, Any] = {"userns_options": pb.UserNamespace(mode=pb.POD)}
        self.assertRaises(Unimplemented, sandbox_namespaces, pod(**own), network_mode="none", engine=NEWEST)
        error = self.assertRaises(Unimplemented, container, pod(), **own)
        self.assertIn("options.userns_options.mode", str(error))

    def test_node(self) -> None:
        """The node's user namespace is accepted; ids cannot be mapped into it."""
        node = pb.UserNamespace(mode=pb.NODE)
        self.assertNotIn("UsernsMode", container(pod(), userns_options=node))
        node.gids.add(host_id=1, container_id=1, length=1)
        self.assertRaises(InvalidArgument, container, pod(), userns_options=node)

    def test_host_namespaces_on_a_remapped_engine(self) -> None:
        """Pods in the host's namespaces, and privileged ones, run outside the engine's user namespace."""
        for config in (pod(network=pb.NODE), pod(pid=pb.NODE), pod(ipc=pb.NODE), pod(privileged=True)):
            modes = sandbox_namespaces(config, network_mode="none", engine=REMAPPED)
            self.assertEqual(modes["UsernsMode"], "host")
            self.assertEqual(container(config, engine=REMAPPED)["UsernsMode"], "host")

    def test_other_pods_on_a_remapped_engine(self) -> None:
        """Any other pod runs in the user namespace that the operator chose for all."""
        self.assertNotIn("UsernsMode", sandbox_namespaces(pod(), network_mode="none", engine=REMAPPED))
        self.assertNotIn("UsernsMode", container(pod(), engine=REMAPPED))
