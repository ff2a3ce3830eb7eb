"""Pod manifests as CRI requests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as api
from criwist.demo.manifest import PodPlan, read_pod
from criwist.demo.sections import ManifestError

EXAMPLES = Path(__file__).resolve().parents[2] / "etc" / "examples"


def _manifest(spec: str = "", container: str = "") -> Any:
    return yaml.safe_load(
        f"""
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}, annotations: {{note: yes please}}}}
spec:
  restartPolicy: Never
  {spec}
  containers:
  - name: main
    image: host.example/image:1
    {container}
"""
    )


class ManifestTests(SynchronousTestCase):
    """The requests that a manifest becomes."""

    def setUp(self) -> None:
        """Make a directory for the pod."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def read(self, spec: str = "", container: str = "") -> PodPlan:
        """Read a pod with one container."""
        return read_pod(_manifest(spec, container), self.directory)

    def refused(self, spec: str = "", container: str = "") -> str:
        """Return the error text for such a pod."""
        return str(self.assertRaises(ManifestError, self.read, spec, container))

    def test_examples_are_understood(self) -> None:
        """Every manifest in etc/examples can be read, and each of its fields has an effect."""
        examples = sorted(EXAMPLES.glob("*.yaml"))
        self.assertTrue(examples)
        for number, example in enumerate(examples):
            directory = self.directory / str(number)
            directory.mkdir()
            plan = read_pod(yaml.safe_load(example.read_text()), directory)
            self.assertEqual(plan.not_applied, ())

    def test_pod_has_kubelets_labels(self) -> None:
        """Name, namespace and uid are labels as kubelet sets them, beside the manifest's own."""
        config = self.read().config
        self.assertEqual(config.labels["app"], "web")
        self.assertEqual(config.labels["io.kubernetes.pod.name"], "web")
        self.assertEqual(config.labels["io.kubernetes.pod.uid"], config.metadata.uid)
        self.assertEqual((config.metadata.namespace, config.hostname), ("default", "web"))

    def test_namespaces(self) -> None:
        """By default a container has its own process ids; a pod may choose the host's or shared ones."""
        modes = {"": api.CONTAINER, "hostPID: true": api.NODE, "shareProcessNamespace: true": api.POD}
        for spec, mode in modes.items():
            plan = self.read(spec)
            for security in (plan.config.linux.security_context, plan.containers[0].config.linux.security_context):
                self.assertEqual(security.namespace_options.pid, mode)

    def test_environment_is_expanded(self) -> None:
        """``$(NAME)`` is replaced in env, command and args; unknown names and ``$$`` stay as Kubernetes leaves them."""
        container = """
    env: [{name: A, value: one}, {name: B, value: "$(A) two"}]
    command: ["$(B)"]
    args: ["$(hostname)", "$$(A)"]"""
        config = self.read(container=container).containers[0].config
        self.assertEqual([(each.key, each.value) for each in config.envs], [("A", b"one"), ("B", b"one two")])
        self.assertEqual(list(config.command), ["one two"])
        self.assertEqual(list(config.args), ["$(hostname)", "$(A)"])

    def test_resources_are_kubelets(self) -> None:
        """Half a CPU is 50 ms of each 100 ms and 512 shares; memory is in bytes."""
        config = self.read(container="resources: {limits: {cpu: 500m, memory: 64Mi}}").containers[0].config
        resources = config.linux.resources
        self.assertEqual((resources.cpu_quota, resources.cpu_period, resources.cpu_shares), (50_000, 100_000, 512))
        self.assertEqual(resources.memory_limit_in_bytes, 64 << 20)

    def test_volumes(self) -> None:
        """An emptyDir is a directory of the pod's; a mount leads to it or to the host's path."""
        plan = self.read(
            "volumes: [{name: a, emptyDir: {}}, {name: b, hostPath: {path: /srv}}]",
            "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b, subPath: c, readOnly: true}]",
        )
        first, second = plan.containers[0].config.mounts
        self.assertTrue(Path(first.host_path).is_dir())
        self.assertTrue(first.host_path.startswith(str(self.directory)))
        self.assertEqual((second.host_path, second.container_path, second.readonly), ("/srv/c", "/b", True))

    def test_host_ports(self) -> None:
        """Only ports with a host port become port mappings of the pod."""
        ports = "ports: [{containerPort: 1}, {containerPort: 2, hostPort: 3, protocol: UDP, hostIP: 127.0.0.1}]"
        (mapping,) = self.read(container=ports).config.port_mappings
        self.assertEqual(
            (mapping.protocol, mapping.container_port, mapping.host_port, mapping.host_ip), (api.UDP, 2, 3, "127.0.0.1")
        )

    def test_containers_inherit_the_pods_user(self) -> None:
        """A container runs as the pod's user unless it names its own."""
        spec = "securityContext: {runAsUser: 7, runAsGroup: 8, fsGroup: 9}"
        security = self.read(spec).containers[0].config.linux.security_context
        self.assertEqual((security.run_as_user.value, security.run_as_group.value), (7, 8))
        self.assertEqual(list(security.supplemental_groups), [9])
        own = self.read(spec, "securityContext: {runAsUser: 0}").containers[0].config.linux.security_context
        self.assertEqual(own.run_as_user.value, 0)

    def test_privileged_container_makes_the_pod_privileged(self) -> None:
        """A runtime refuses a privileged container in a pod that is not."""
        plan = self.read(container="securityContext: {privileged: true}")
        self.assertTrue(plan.config.linux.security_context.privileged)

    def test_scheduling_is_named_and_not_applied(self) -> None:
        """Fields that no runtime acts on are listed."""
        plan = self.read("nodeSelector: {a: b}", "livenessProbe: {exec: {command: [true]}}")
        self.assertEqual(plan.not_applied, ("spec.nodeSelector", "spec.containers[0].livenessProbe"))

    def test_everything_else_is_refused_by_name(self) -> None:
        """An unsupported field that would change the pod is an error that names it."""
        self.assertIn("spec.runtimeClassName", self.refused("runtimeClassName: gvisor"))
        self.assertIn("spec.volumes[0].configMap", self.refused("volumes: [{name: a, configMap: {name: b}}]"))
        self.assertIn("spec.containers[0].envFrom", self.refused(container="envFrom: []"))
        self.assertIn(
            "spec.containers[0].securityContext.procMount",
            self.refused(container="securityContext: {procMount: Unmasked}"),
        )

    def test_wrong_values_are_refused_by_name(self) -> None:
        """A value of the wrong type or range is an error that names the field and what it must be."""
        self.assertEqual(
            self.refused(container="command: echo"), "spec.containers[0].command: must be a list, not 'echo'"
        )
        self.assertEqual(self.refused("hostNetwork: 1"), "spec.hostNetwork: must be true or false, not 1")
        self.assertIn("spec.containers[0].resources", self.refused(container="resources: {limits: {cpu: fast}}"))
        self.assertIn("imagePullPolicy", self.refused(container="imagePullPolicy: Sometimes"))
        self.assertIn("no volume 'a'", self.refused(container="volumeMounts: [{name: a, mountPath: /a}]"))
        self.assertIn(
            "metadata.name",
            str(self.assertRaises(ManifestError, read_pod, {"apiVersion": "v1", "kind": "Pod"}, self.directory)),
        )
        self.assertIn(
            "apiVersion v1",
            str(
                self.assertRaises(
                    ManifestError, read_pod, {"apiVersion": "apps/v1", "kind": "Deployment"}, self.directory
                )
            ),
        )
        self.assertIn("mapping", str(self.assertRaises(ManifestError, read_pod, [], self.directory)))

    def test_pull_policy_follows_the_tag(self) -> None:
        """As in Kubernetes, an image without tag or with ``latest`` is always pulled."""
        for image, policy in (("a", "Always"), ("h:5000/a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent")):
            document = _manifest()
            document["spec"]["containers"][0]["image"] = image
            self.assertEqual(read_pod(document, self.directory).containers[0].pull_policy, policy)
