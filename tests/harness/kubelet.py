"""A real kubelet over a CRI runtime: standalone, with static pods, without an API server.

``tools/kubelet.py`` builds the program, 1.20, which speaks ``runtime.v1alpha2``.  Tests with it are in
``tests/functional/kubelet``, whose ``conftest.py`` has the fixtures.  A scenario is a few lines::

    def test_exit_code(kubelet: Kubelet) -> None:
        pod = kubelet.run_pod(manifest("sh", "-c", "exit 3", restart="Never"), until=phase("Failed"))
        assert terminated(pod)["exitCode"] == 3

The fixture ``kubelet`` is one that the tests of a module share, on criwist with a CNI network; ``kubelet.cri`` is a CRI
client of the same runtime, and ``kubelet.engine`` the engine (None on containerd).  A test marked ``second_opinion``
runs also over containerd.  When a test ends, all pods are removed.  A test that kills kubelet, or needs another
configuration, has one of its own from ``kubelet_factory(configuration={"evictionHard": {…}}, flags=["--v=5"])``; one
that kills criwist or its engine gives it a runtime of its own besides: ``kubelet_factory(on=runtime_factory(engine))``.

- ``manifest(*command, …)`` makes a pod of one container, ``with_containers(container(…), …)`` one of several.
- ``kubelet.apply(pod)`` writes a manifest and returns the name that the pod has in kubelet's API; ``remove(name)``
  takes it away; ``run_pod(pod, until=…)`` applies and waits.  Times are generous: kubelet looks at its pods once a
  second, restarts a container at once the first time and after 10 s, 20 s, 40 s the next times, and cleans up every
  2 s.  A test that looks at the end of a pod needs a volume in it; ``with_containers`` says why, and adds one.
- ``kubelet.wait_for(name, condition)`` waits until a condition holds for the pod as ``/pods`` reports it, and returns
  it; conditions are ``running``, ``ready``, ``phase("Succeeded")``, or any function of the pod.
- ``status(pod, container)``, ``terminated(pod, container)`` and ``waiting(pod, container)`` return parts of it.
- ``kubelet.get(path)``, ``kubelet.json(path)`` and ``kubelet.request(method, path)`` speak to its HTTPS port.
- ``kubelet.exec(name, *command)`` and ``kubelet.logs(name)`` go through that port too.
- ``kubelet.events(name)`` returns reasons and messages of the events that kubelet has reported for a pod.

kubelet takes static pods for critical and wants an OOM score of -997 for each of their containers, whatever their
class.  Where the machine does not permit that, both runtimes give them the least one that they may.

What kubelet would change of the machine it sees changed already (``_SYSCTLS``), in a mount namespace of its own, whose
other mounts the engine sees.  Its cgroups are below the session's, so ``harness.leftovers`` removes those of killed
runs.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import ssl
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import websocket

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness import images
from tests.harness.channel_client import ChannelClient
from tests.harness.client import CRI
from tests.harness.clock import eventually, scaled
from tests.harness.engine import Engine
from tests.harness.leftovers import unmount_below
from tests.harness.namespaces import NODE_ADDRESS
from tests.harness.programs import Program
from tests.harness.registry import free_port

#: A pod as kubelet reports it, or a part of one, decoded from JSON.
Object = dict[str, Any]

NODE = "node"
_CGROUPS = Path("/sys/fs/cgroup")
_serial = itertools.count(1)

#: Kernel parameters below /proc/sys, with the values that kubelet demands.
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

#: kubelet reads the values above, whatever the kernel's are, and /dev/kmsg, which a machine may not have.
_START = """\
set -e
mount --make-rprivate /proc
cd "$1"
for name in $(find . -type f); do mount --bind "$name" "/proc/sys/$name"; done
if ! [ -e /dev/kmsg ]; then
    mount --make-rprivate /dev
    mount -t tmpfs tmpfs "$1"
    mount --rbind /dev "$1"
    mount -t tmpfs tmpfs /dev
    for name in null zero full random urandom; do : >"/dev/$name"; mount --bind "$1/$name" "/dev/$name"; done
    : >/dev/kmsg
    mount --bind /dev/null /dev/kmsg
fi
cd /
shift
exec "$@"
"""


# -- manifests


def container(*command: str, name: str = "c", image: str = images.BUSYBOX, **fields: Any) -> Object:
    """Return a container of a manifest that runs *command*, or sleeps until SIGTERM.  *fields* are of the API."""
    sleeping = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done")
    return {"name": name, "image": image, "command": list(command or sleeping), **fields}


def manifest(*command: str, restart: str = "Always", spec: Mapping[str, Any] | None = None, **fields: Any) -> Object:
    """Return a pod of one container, named ``c``.

    :param spec: more fields of the pod's spec.
    :param fields: those of the container, see :func:`container`.
    """
    return with_containers(container(*command, **fields), restart=restart, **(spec or {}))


def with_containers(*containers: Object, restart: str = "Always", name: str = "", **spec: Any) -> Object:
    """Return a pod of these containers; it is named like no other, and has a grace period of 2 s.

    Without volumes of its own it gets one, at ``/kept`` of the first container.  In a cluster each pod has the volume
    of a token.  For a pod without volumes kubelet 1.20 reports no ephemeral storage, and when its manifest is gone it
    gets no grace period: kubelet kills what is in the cgroup, unless a volume is mounted.

    :param spec: more fields of the pod's spec.
    """
    if "volumes" not in spec:
        first, *others = containers
        mounts = [*first.get("volumeMounts", ()), {"name": "kept", "mountPath": "/kept"}]
        containers = ({**first, "volumeMounts": mounts}, *others)
        spec["volumes"] = [{"name": "kept", "emptyDir": {}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name or f"pod-{next(_serial)}", "namespace": "default"},
        "spec": {
            "restartPolicy": restart,
            "terminationGracePeriodSeconds": 2,
            "containers": list(containers),
            **spec,
        },
    }


# -- what kubelet reports


def status(pod: Object, name: str = "c") -> Object:
    """Return the status of a container, init containers included; ``{}`` if there is none yet."""
    statuses = [*pod["status"].get("containerStatuses", ()), *pod["status"].get("initContainerStatuses", ())]
    return next((each for each in statuses if each["name"] == name), {})


def terminated(pod: Object, name: str = "c") -> Object:
    """Return how a container has ended: now, or before its last restart; ``{}`` if it has not."""
    found = status(pod, name)
    ended: Object = found.get("state", {}).get("terminated") or found.get("lastState", {}).get("terminated") or {}
    return ended


def waiting(pod: Object, name: str = "c") -> Object:
    """Return why a container waits, ``{}`` if it does not."""
    reason: Object = status(pod, name).get("state", {}).get("waiting") or {}
    return reason


def running(pod: Object) -> bool:
    """Whether all containers run."""
    statuses = pod["status"].get("containerStatuses", ())
    return len(statuses) == len(pod["spec"]["containers"]) and all("running" in each["state"] for each in statuses)


def ready(pod: Object) -> bool:
    """Whether the pod is ready."""
    return any(it["type"] == "Ready" and it["status"] == "True" for it in pod["status"].get("conditions", ()))


def phase(*names: str) -> Callable[[Object], bool]:
    """Return the condition that the pod's phase is one of these."""
    return lambda pod: pod["status"].get("phase") in names


# -- kubelet


class Kubelet:
    """A kubelet and what it keeps under *root*, which is in the session's directory.

    :param cri: a client of the runtime that it runs its pods on.
    :param engine: the engine that runtime is on, for tests to look at.
    :param cadvisor_socket: where the runtime serves what cAdvisor asks of containerd.
    :param configuration: fields of KubeletConfiguration that replace those here.
    :param flags: more flags.
    """

    def __init__(
        self,
        program: Path,
        root: Path,
        cri: CRI,
        *,
        engine: Engine | None = None,
        cadvisor_socket: Path | None = None,
        configuration: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.cri = cri
        self.engine = engine
        self.manifests = root / "manifests"
        self.manifests.mkdir(mode=0o755, parents=True)
        self.port = free_port()
        #: Below cgroupfs' mount points, without a slash at its beginning.
        self.cgroup = f"{root.parent.name}/{root.name}"
        sysctls = root / "sysctls"
        for name, value in _SYSCTLS.items():
            (sysctls / name).parent.mkdir(parents=True, exist_ok=True)
            (sysctls / name).write_text(f"{value}\n")
        self.configuration = root / "kubelet.json"
        self.configuration.write_text(json.dumps({**self._defaults(), **(configuration or {})}))
        command = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", _START, "kubelet", str(sysctls)]
        command += [str(program), f"--config={self.configuration}", f"--root-dir={root}/kubelet"]
        command += [f"--cert-dir={root}/pki", f"--hostname-override={NODE}", f"--node-ip={NODE_ADDRESS}"]
        command += ["--container-runtime=remote", f"--container-runtime-endpoint=unix://{cri.socket}"]
        # Its cAdvisor looks for an engine of its own first, and at containerd's usual path.
        command += ["--docker=unix:///nonexistent", f"--containerd={cadvisor_socket or '/nonexistent'}", "--v=3"]
        self.program = Program("kubelet", [*command, *flags], root / "kubelet.log")

    def _defaults(self) -> Object:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "staticPodPath": str(self.manifests),
            "fileCheckFrequency": "1s",
            "syncFrequency": "10s",
            "volumeStatsAggPeriod": "2s",
            "address": "127.0.0.1",
            "port": self.port,
            "healthzPort": 0,
            "readOnlyPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": True,
            "cgroupRoot": f"/{self.cgroup}",
            "failSwapOn": False,
            "protectKernelDefaults": True,
            "makeIPTablesUtilChains": False,
            "volumePluginDir": str(self.root / "plugins"),
            # Neither images nor pods go because the machine's disk is full.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {},
        }

    # -- its life

    def start(self) -> float:
        """Start it and wait until it serves; returns the seconds that took."""
        _make_cgroup(self.cgroup)
        return self.program.start(self._serves, within=60)

    def stop(self) -> None:
        """End it; the pods stay."""
        self.program.stop()

    def kill(self) -> None:
        """SIGKILL; the pods stay."""
        self.program.kill()

    def destroy(self) -> None:
        """End it, then remove its pods, mounts, cgroups and files.  Repeatable."""
        self.stop()
        try:
            eventually(self._cleaned, within=30, what="the runtime removes the pods")
        finally:
            self._remove_files()

    def _cleaned(self) -> bool:
        """Remove all pods from the runtime, and their logs; AssertionError: kubelet is still changing them."""
        try:
            self.cri.clean()
        except grpc.RpcError as error:
            raise AssertionError(str(error)) from error
        for path in (*Path("/var/log/containers").iterdir(), *Path("/var/log/pods").iterdir()):
            if path.is_symlink():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path, ignore_errors=True)
        return True

    def _remove_files(self) -> None:
        unmount_below(self.root)
        for controller in _CGROUPS.glob("*/"):
            for directory, _, _ in os.walk(controller / self.cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        shutil.rmtree(self.root, ignore_errors=True)

    def _serves(self) -> bool:
        try:
            return self.request("GET", "/healthz")[0] == 200 and self.request("GET", "/pods")[0] == 200
        except OSError:
            return False

    # -- pods

    def apply(self, pod: Object) -> str:
        """Write a manifest, atomically; returns the pod's name in kubelet's API."""
        name = str(pod["metadata"]["name"])
        beside = self.root / "new"
        beside.write_text(json.dumps(pod))
        beside.rename(self.manifests / f"{name}.json")
        return f"{name}-{NODE}"

    def remove(self, name: str, *, within: float = 60) -> None:
        """Take a pod's manifest away and wait until kubelet has ended its containers and its sandbox."""
        self._forget(name)
        eventually(lambda: self.find(name) is None, within=within, what=f"{name} is forgotten")
        eventually(lambda: not self._runs(name), within=within, what=f"{name} has ended")

    def _forget(self, name: str) -> None:
        (self.manifests / f"{name.removesuffix(f'-{NODE}')}.json").unlink(missing_ok=True)

    def _runs(self, name: str) -> bool:
        selector = {"io.kubernetes.pod.name": name}
        runs = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
        is_ready = api.PodSandboxStateValue(state=api.SANDBOX_READY)
        return bool(
            self.cri.container_ids(label_selector=selector, state=runs)
            or self.cri.pod_ids(label_selector=selector, state=is_ready)
        )

    def run_pod(self, pod: Object, *, until: Callable[[Object], object] = running, within: float = 60) -> Object:
        """Apply a manifest and wait until the condition holds; returns the pod."""
        return self.wait_for(self.apply(pod), until, within=within)

    def wait_for(
        self, name: str, condition: Callable[[Object], object], *, within: float = 60, what: str = ""
    ) -> Object:
        """Wait until the condition holds for a pod; returns the pod.  An AssertionError in it counts as "not yet"."""

        def look() -> Object:
            pod = self.find(name)
            assert pod is not None, f"kubelet does not know {name}"
            assert condition(pod), f"{what or condition}: {json.dumps(pod['status'])}"
            return pod

        return eventually(look, within=within)

    def pods(self) -> list[Object]:
        """Return all pods that kubelet knows."""
        return list(self.json("/pods")["items"] or ())

    def find(self, name: str) -> Object | None:
        """Return a pod; None if kubelet does not know it."""
        return next((pod for pod in self.pods() if pod["metadata"]["name"] == name), None)

    def clear(self) -> None:
        """Remove all pods, whatever their state."""
        names = [pod["metadata"]["name"] for pod in self.pods()] if self.program.alive else []
        for path in self.manifests.iterdir():
            path.unlink()
        if self.program.alive:
            eventually(lambda: not self.pods(), within=30, what="kubelet has forgotten the pods")
            # Pods with a long grace period are not waited for; they are killed.
            with contextlib.suppress(AssertionError):
                eventually(lambda: not any(self._runs(name) for name in names), within=5)
        eventually(self._cleaned, within=30, what="the runtime removes the pods")

    def container_id(self, pod: Object, name: str = "c") -> str:
        """Return the CRI's id of a pod's container."""
        return str(status(pod, name)["containerID"]).partition("://")[2]

    # -- its port

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        """One HTTPS request; returns status and body."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=scaled(60), context=_trusting())
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        """GET; an AssertionError if the status is not 200."""
        code, body = self.request("GET", path)
        assert code == 200, f"{path}: {code} {body!r}"
        return body

    def json(self, path: str) -> Any:
        """GET, decoded."""
        return json.loads(self.get(path))

    def logs(self, name: str, container: str = "c", **query: str) -> str:
        """Return a container's log: *query* is ``previous="true"``, ``tailLines="1"`` and so on."""
        path = f"/containerLogs/default/{name}/{container}?{urllib.parse.urlencode(query)}"
        return self.get(path).decode()

    def stream(self, kind: str, name: str, container: str = "", **query: str | Sequence[str]) -> ChannelClient:
        """Connect to ``exec``, ``attach`` or ``portForward`` of a pod over WebSocket; the caller closes it.

        kubelet finds a container in a list that is up to two seconds old.
        """
        path = f"/{kind}/default/{name}" + (f"/{container}" if container else "")
        url = f"https://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query, doseq=True)}"

        def connect() -> ChannelClient:
            try:
                return ChannelClient(url, "v4.channel.k8s.io", tls=_trusting())
            except websocket.WebSocketBadStatusException as error:
                raise AssertionError(str(error)) from error

        return eventually(connect, within=5)

    def exec(self, name: str, *command: str, container: str = "c") -> tuple[bytes, bytes, Object]:
        """Run a command in a container; returns its outputs and the ``Status`` that comes last."""
        client = self.stream("exec", name, container, command=command, output="1", error="1")
        try:
            client.receive_all()
        finally:
            client.close()
        return bytes(client.received[1]), bytes(client.received[2]), json.loads(client.received[3])

    def output(self, name: str, *command: str, container: str = "c") -> str:
        """What a command writes to standard output in a container; an AssertionError if it fails."""
        out, err, result = self.exec(name, *command, container=container)
        assert result["status"] == "Success", (command, result, err)
        return out.decode()

    def events(self, name: str) -> list[tuple[str, str]]:
        """Return reason and message of each event of a pod, as kubelet has logged them."""
        pattern = (
            rf'"Event occurred" object="default/{re.escape(name)}" .* reason="([^"]*)" message="((?:[^"\\]|\\.)*)"'
        )
        return re.findall(pattern, self.program.log_text())


def _trusting() -> ssl.SSLContext:
    """kubelet's certificate is signed by itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _make_cgroup(name: str) -> None:
    """Make a cgroup for all controllers, as kubelet demands of its root.

    On version 1 a new cgroup of the controller cpuset has no processors until it is given some.
    """
    roots = [path for path in _CGROUPS.glob("*/") if path.name != "unified" and (path / "tasks").exists()]
    for root in roots or [_CGROUPS]:
        directory = root
        for part in Path(name).parts:
            directory /= part
            directory.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if roots and (directory / file).exists() and not (directory / file).read_text().strip():
                    (directory / file).write_text((directory.parent / file).read_text())
