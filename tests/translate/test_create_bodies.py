"""The create bodies of sandboxes and containers, as far as no other test covers them."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from criwist import labels
from criwist.api.runtime.v1 import api_pb2 as pb
from criwist.errors import InvalidArgument
from criwist.interfaces.engine import EngineFacts
from criwist.translate.annotations import oci_annotations
from criwist.translate.container import container_body, log_path
from criwist.translate.sandbox import sandbox_body
from tests.translate.outcomes import NEWEST, OLDEST, SANDBOX_ID, minimal_container, minimal_sandbox


def sandbox(config: pb.PodSandboxConfig, **arguments: Any) -> dict[str, Any]:
    """The body of a sandbox."""
    defaults: dict[str, Any] = {
        "image": "pause",
        "runtime": "",
        "network_mode": "none",
        "publish_ports": True,
        "name": "k8s_POD_pod_default_uid_0",
        "engine": OLDEST,
        "oom_score_floor": -1000,
        "files": {},
    }
    return sandbox_body(config, **(defaults | arguments))


def container(
    config: pb.ContainerConfig, sandbox_config: pb.PodSandboxConfig | None = None, **arguments: Any
) -> dict[str, Any]:
    """The body of a container."""
    defaults: dict[str, Any] = {
        "sandbox_id": SANDBOX_ID,
        "host_network": False,
        "runtime": "",
        "image": "busybox",
        "log_config": {},
        "name": "k8s_main_pod_default_uid_0",
        "engine": OLDEST,
        "oom_score_floor": -1000,
        "files": {},
    }
    return container_body(config, sandbox_config or minimal_sandbox(), **(defaults | arguments))


class Sandbox(SynchronousTestCase):
    """The pause container."""

    def test_minimal(self) -> None:
        """A sandbox without options is a pause container like that of the older shims, never privileged."""
        body = sandbox(minimal_sandbox(), oom_score_floor=0)
        self.assertEqual(body["Image"], "pause")
        self.assertEqual(body["Healthcheck"], {"Test": ["NONE"]})
        self.assertEqual(
            body["HostConfig"],
            {
                "CgroupParent": "",
                "CpuShares": 2,
                "Init": False,
                "IpcMode": "shareable",
                "NetworkMode": "none",
                "OomScoreAdj": 0,
                "ReadonlyRootfs": False,
                "RestartPolicy": {"Name": "no"},
                "SecurityOpt": ["no-new-privileges"],
                "ShmSize": 64 * 1024 * 1024,
            },
        )

    def test_oom_score(self) -> None:
        """The pause container is killed last, as far as the engine may set its score."""
        self.assertEqual(sandbox(minimal_sandbox())["HostConfig"]["OomScoreAdj"], -998)

    def test_privileged_pod(self) -> None:
        """The pause container of a privileged pod gets no rights, which it would not use."""
        config = minimal_sandbox()
        config.linux.security_context.privileged = True
        self.assertNotIn("Privileged", sandbox(config)["HostConfig"])

    def test_runtime(self) -> None:
        """The runtime handler's OCI runtime is in the body, the default is not."""
        self.assertEqual(sandbox(minimal_sandbox(), runtime="runsc")["HostConfig"]["Runtime"], "runsc")

    def ports(self, *mappings: pb.PortMapping, node: bool = False, **arguments: Any) -> Any:
        """The bindings for these port mappings."""
        config = minimal_sandbox()
        config.port_mappings.extend(mappings)
        if node:
            config.linux.security_context.namespace_options.network = pb.NODE
        body = sandbox(config, **arguments)
        self.assertEqual(list(body.get("ExposedPorts", {})), list(body["HostConfig"].get("PortBindings", {})))
        return body["HostConfig"].get("PortBindings")

    def test_ports(self) -> None:
        """Each protocol is mapped; a port may have several host ports; a mapping without one is left out."""
        self.assertEqual(
            self.ports(
                pb.PortMapping(container_port=80, host_port=8080),
                pb.PortMapping(container_port=80, host_port=8081, host_ip="127.0.0.1"),
                pb.PortMapping(container_port=53, host_port=53, protocol=pb.UDP),
                pb.PortMapping(container_port=99, host_port=99, protocol=pb.SCTP),
                pb.PortMapping(container_port=443),
            ),
            {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
                "53/udp": [{"HostIp": "", "HostPort": "53"}],
                "99/sctp": [{"HostIp": "", "HostPort": "99"}],
            },
        )

    def test_ports_that_others_publish(self) -> None:
        """A CNI plugin publishes the ports of its pods; on the node's network there is nothing to publish."""
        mapping = pb.PortMapping(container_port=80, host_port=8080)
        self.assertIsNone(self.ports(mapping, publish_ports=False))
        self.assertIsNone(self.ports(mapping, node=True))

    def test_dns(self) -> None:
        """Docker writes the requested resolv.conf from the start."""
        config = minimal_sandbox()
        config.dns_config.MergeFrom(
            pb.DNSConfig(servers=["10.0.0.10"], searches=["a.local", "local"], options=["ndots:5"])
        )
        host_config = sandbox(config)["HostConfig"]
        self.assertEqual(
            (host_config["Dns"], host_config["DnsSearch"], host_config["DnsOptions"]),
            (["10.0.0.10"], ["a.local", "local"], ["ndots:5"]),
        )


class Container(SynchronousTestCase):
    """A workload container."""

    def test_minimal(self) -> None:
        """A container without options shares its sandbox's namespaces; the rest is the image's and the engine's."""
        body = container(minimal_container())
        shared = f"container:{SANDBOX_ID}"
        self.assertEqual({"Entrypoint", "Cmd", "Env", "User", "WorkingDir", "StopSignal"} & body.keys(), set())
        self.assertEqual(
            body["HostConfig"],
            {
                "CgroupParent": "",
                "IpcMode": shared,
                "NetworkMode": shared,
                "OomScoreAdj": 0,
                "PidMode": shared,
                "Privileged": False,
                "ReadonlyRootfs": False,
                "RestartPolicy": {"Name": "no"},
                "SecurityOpt": ["seccomp=unconfined"],
                "ShmSize": 64 * 1024 * 1024,
            },
        )

    def test_command(self) -> None:
        """The CRI's command is Docker's entrypoint, its args are Docker's command."""
        config = minimal_container()
        config.command[:], config.args[:] = ["sh", "-c"], ["exit 3"]
        body = container(config)
        self.assertEqual((body["Entrypoint"], body["Cmd"]), (["sh", "-c"], ["exit 3"]))

    def test_environment(self) -> None:
        """Variables keep their order, repeated ones included, and their text."""
        config = minimal_container()
        for key, value in (("B", "1"), ("A", "é=\n"), ("B", ""), ("C", "$(B)")):
            config.envs.add(key=key, value=value.encode())
        self.assertEqual(container(config)["Env"], ["B=1", "A=é=\n", "B=", "C=$(B)"])

    def test_environment_that_is_not_text(self) -> None:
        """The Engine API carries text only; other bytes are refused instead of changed."""
        config = minimal_container()
        config.envs.add(key="A", value=b"\xff")
        self.assertEqual(self.assertRaises(InvalidArgument, container, config).field, "config.envs[0].value")

    def test_log_path(self) -> None:
        """The log is in the pod's log directory; without a directory or a path there is no log."""
        config, sandbox_config = minimal_container(), minimal_sandbox()
        self.assertEqual(log_path(config, sandbox_config), "")
        config.log_path, sandbox_config.log_directory = "main/0.log", "/var/log/pods/pod/"
        self.assertEqual(log_path(config, sandbox_config), "/var/log/pods/pod/main/0.log")
        self.assertEqual(container(config, sandbox_config)["Labels"][labels.LOG_PATH], "/var/log/pods/pod/main/0.log")

    def test_log_config(self) -> None:
        """A given log driver is in the body."""
        options = {"Type": "json-file", "Config": {"max-size": "1m"}}
        self.assertEqual(container(minimal_container(), log_config=options)["HostConfig"]["LogConfig"], options)

    def test_labels(self) -> None:
        """A container has its labels and annotations, and criwist's own labels, which clients never see."""
        config = minimal_container()
        config.labels["app"] = "x"
        config.annotations["note"] = "y"
        config.image.user_specified_image = "busybox:latest"
        made = container(config)["Labels"]
        self.assertEqual(labels.cri_labels(made), ({"app": "x"}, {"note": "y"}))
        self.assertEqual(made[labels.USER_IMAGE], "busybox:latest")

    def test_privileged_in_a_plain_sandbox(self) -> None:
        """A privileged container needs a sandbox that was created as privileged (CRI)."""
        config = minimal_container()
        config.linux.security_context.privileged = True
        error = self.assertRaises(InvalidArgument, container, config)
        self.assertEqual(error.field, "config.linux.security_context.privileged")

    def privileged(self, engine: EngineFacts) -> dict[str, Any]:
        """The HostConfig of a privileged container."""
        config, sandbox_config = minimal_container(), minimal_sandbox()
        config.linux.security_context.masked_paths.append("/proc/kcore")
        for one in (config.linux, sandbox_config.linux):
            one.security_context.privileged = True
        host_config: dict[str, Any] = container(config, sandbox_config, engine=engine)["HostConfig"]
        return host_config

    def test_privileged(self) -> None:
        """A privileged container has no seccomp option and no masked paths, and sees the host's cgroups."""
        for engine, mode in ((OLDEST, None), (NEWEST, "host")):
            host_config = self.privileged(engine)
            self.assertTrue(host_config["Privileged"])
            self.assertEqual(host_config["SecurityOpt"], [])
            self.assertNotIn("MaskedPaths", host_config)
            self.assertEqual(host_config.get("CgroupnsMode"), mode)

    def test_masked_paths(self) -> None:
        """The lists are passed unchanged; an empty list means none, which for Docker differs from an absent one."""
        config = minimal_container()
        config.linux.security_context.readonly_paths.append("/proc/sys")
        host_config = container(config)["HostConfig"]
        self.assertEqual((host_config["MaskedPaths"], host_config["ReadonlyPaths"]), ([], ["/proc/sys"]))


class Annotations(SynchronousTestCase):
    """OCI annotations."""

    def test_passed_on(self) -> None:
        """From API 1.43 on the runtime gets the annotations."""
        annotations = {"io.katacontainers.config.hypervisor.default_vcpus": "2"}
        self.assertEqual(oci_annotations(annotations, engine=NEWEST), {"Annotations": annotations})
        self.assertEqual(oci_annotations(annotations, engine=evolve(NEWEST, api_version=(1, 42))), {})
        self.assertEqual(oci_annotations({}, engine=NEWEST), {})

    def test_orders_are_not(self) -> None:
        """Annotations that runc or crun would act on belong to the node's operator, not to users who make pods."""
        orders = {"org.systemd.property.CPUQuota": "'1'", "run.oci.hooks.stdout": "/etc/passwd"}
        self.assertEqual(oci_annotations(orders, engine=NEWEST), {})
